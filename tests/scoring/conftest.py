"""What tests of reports look at them with."""

from tests.browser import browser

__all__ = ["browser"]
