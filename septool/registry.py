"""Registries: lists of ``name -> "module:object"``, imported on first use."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import TypeVar

from septool.errors import UsageError

T = TypeVar("T")


MANY = 20  # names in an error


def suggest(kind: str, name: str, known: Iterable[str], *, listed_by: str = "") -> UsageError:
    """Build the error for an unknown name: what it is, what was probably meant, what there is.

    Where there are too many to read, the command that lists them, ``listed_by``, stands for them.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    if listed_by and len(names) > MANY:
        return UsageError(f"unknown {kind} {name!r}{meant} ({listed_by} lists all)")
    return UsageError(f"unknown {kind} {name!r}{meant} (known: {', '.join(names) or 'none'})")


class Registry(Mapping[str, T]):
    """A list of named objects of one kind; looking one up imports its module."""

    def __init__(self, kind: str, targets: Mapping[str, str]) -> None:
        self.kind = kind
        self._targets = dict(targets)

    def __getitem__(self, name: str) -> T:
        if name not in self._targets:
            raise suggest(self.kind, name, self._targets)
        module, _, attribute = self._targets[name].partition(":")
        return getattr(import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def module(self, name: str) -> ModuleType:
        """Return the module that ``name`` lives in (for its configurations and docstring)."""
        if name not in self._targets:
            raise suggest(self.kind, name, self._targets)
        return import_module(self._targets[name].partition(":")[0])
