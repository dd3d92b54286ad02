"""Downloading weights that a verb needs: consent once, then a progress bar."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from septool.errors import CheckpointError

if TYPE_CHECKING:
    from septool.commands import printing

ASK_FROM = 50_000_000  # bytes; smaller downloads are not worth a question


def _set_offline(value: bool) -> bool:
    if value:
        os.environ["SEPTOOL_OFFLINE"] = "1"
    return value


Yes = Annotated[bool, typer.Option("--yes", help="Download missing weights without asking.", rich_help_panel="Weights")]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline", callback=_set_offline, help="Never open a network connection.", rich_help_panel="Weights"
    ),
]


def megabytes(count: int) -> str:
    """Write a size; 0 is one that nobody knows."""
    return f"{count / 1e6:.1f} MB" if count else "of unknown size"


def obtain_weights(*names: str | None, yes: bool, quiet: bool) -> None:
    """Fetch the weights that names mean, as far as they are not here.

    On a terminal a large download is asked for once. Elsewhere nothing is fetched unless ``--yes`` was given or
    ``SEPTOOL_AUTO_FETCH=1`` is set.

    Args:
        names: every checkpoint that the call names; None is an option that was not given.
        yes: whether consent was given.
        quiet: no progress.

    Raises:
        CheckpointError: they are not here and may not be fetched, or cannot be.
        ConfigError: a variable that is neither on nor off.
    """
    for name in names:
        if name is not None:
            _obtain(name, yes=yes, quiet=quiet)


def _obtain(name: str, *, yes: bool, quiet: bool) -> None:
    from septool import catalogue
    from septool.commands import printing
    from septool.config import read_switch

    pending = catalogue.find_pending(name)
    if pending is None:
        return
    terminal = sys.stdin.isatty() and sys.stderr.isatty()
    agreed = yes or read_switch("SEPTOOL_AUTO_FETCH")
    what = f"the weights of {pending.name} ({megabytes(pending.bytes)})"
    if not agreed and not terminal:
        raise CheckpointError(
            f"{what} are not here; get them with: septool models fetch {name} (or give --yes, or set "
            "SEPTOOL_AUTO_FETCH=1)"
        )
    for text in restrictions(pending.entry.licence, pending.entry.notices):
        printing.note(text)
    if not agreed and (not pending.bytes or pending.bytes > ASK_FROM):
        question = f"septool: fetch {what} into {pending.folder}?"
        if not typer.confirm(question, default=True, err=True):
            raise CheckpointError(f"{what} were not fetched")
    with Meter(quiet=quiet) as meter:
        catalogue.fetch_weights(name, meter)


def restrictions(licence: str, notices: str) -> list[str]:
    """Return what has to be known before weights are used."""
    return [text for text in (f"licence: {licence}" if licence else "", notices) if text]


class Meter:
    """The progress of a download, file by file."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: printing.Bar | None = None
        self._name = ""

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.__exit__()

    def __call__(self, name: str, here: int, total: int) -> None:
        """Take in how far a file is."""
        from septool.commands import printing

        if self._bar is None or name != self._name:
            self.__exit__()
            self._bar, self._name = printing.Bar(f"fetch {name}", quiet=self._quiet), name
            self._bar.__enter__()
        self._bar.update(here // 1000, max(total // 1000, 1), "kB")
