"""septool: speech separation and extraction, training, evaluation and profiling."""

from importlib import import_module
from typing import TYPE_CHECKING

from septool.version import __version__

if TYPE_CHECKING:
    from septool.api import load_extractor, load_separator
    from septool.tasks.extract import extract
    from septool.tasks.separate import separate

__all__ = ["__version__", "extract", "load_extractor", "load_separator", "separate"]

_MODULES = {
    "extract": "septool.tasks.extract",
    "load_extractor": "septool.api",
    "load_separator": "septool.api",
    "separate": "septool.tasks.separate",
}


def __getattr__(name: str) -> object:
    """Import on first use: torch takes a second, which ``--help`` need not wait for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
