"""How results and progress look: results on stdout, everything else on stderr."""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


def note(text: str) -> None:
    """Say something on stderr."""
    sys.stderr.write(f"septool: {text}\n")


def json_line(row: dict[str, Any]) -> None:
    """Print one JSON line; a number that is none becomes null."""
    sys.stdout.write(json.dumps(_finite(row)) + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print a table; off a terminal as wide as it needs, so that nothing is cut in a pipe."""
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    body = [[_cell(value) for value in row] for row in rows]
    for place, column in enumerate(columns):
        numbers = all(_is_number(row[place]) for row in body) and bool(body)
        shown.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in body:
        shown.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:  # a table is never measured as wider than its console
        needed = Console(width=10_000).measure(shown).maximum
        console = Console(highlight=False, width=max(needed, 80))
    console.print(shown)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.2f}"
    return "-" if value is None else str(value)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "").lstrip("-").isdigit()


class Bar:
    """A progress bar on a terminal, a plain line every tenth of the way elsewhere."""

    def __init__(self, label: str, *, quiet: bool) -> None:
        self.label, self.quiet = label, quiet
        self._tenths = 0
        self._rich: Progress | None = None
        if not quiet and sys.stderr.isatty():
            self._rich = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._rich.add_task(label, total=None, note="")

    def __enter__(self) -> "Bar":
        if self._rich:
            self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich:
            self._rich.stop()

    def update(self, done: int, total: int, text: str = "") -> None:
        """Show how far it is, with a few words."""
        if self._rich:
            self._rich.update(self._task, completed=done, total=total, note=text)
        elif not self.quiet and total and done * 10 // total > self._tenths:
            self._tenths = done * 10 // total
            note(f"{self.label} {done}/{total} {text}".rstrip())

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.quiet:
            return
        if self._rich:
            self._rich.console.print(text, highlight=False)
        else:
            note(text)
