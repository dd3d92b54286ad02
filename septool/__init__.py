"""septool: takes apart recordings in which people talk over each other."""

from typing import TYPE_CHECKING, Any

from septool.version import __version__

if TYPE_CHECKING:
    from septool.api import load_extractor, load_separator

__all__ = ["__version__", "load_extractor", "load_separator"]


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes a second, which ``--help`` need not wait for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from septool import api

    return getattr(api, name)
