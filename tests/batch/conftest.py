"""What tests of reports look at them with."""

from tests.browser import show

__all__ = ["show"]
