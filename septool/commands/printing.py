"""Printing results on stdout, and progress and messages on stderr."""

import json
import math
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from septool.config import JsonDict, finite_or_null
from septool.printable import printable

if TYPE_CHECKING:  # which takes NumPy, and a second
    from septool.batch.outcomes import Failed, Skipped
    from septool.inference.findings import WithFindings

SILENT_SECONDS = 60  # a log without a line for longer looks like a run that hangs
INTERVAL_S = 1.0  # between two JSON objects of progress


def _console(*, width: int | None = None, stderr: bool = False) -> Console:
    # Nothing that is printed is written in rich's own language: a name may hold [brackets] or :colons:.
    return Console(highlight=False, markup=False, emoji=False, width=width, stderr=stderr)


def note(text: str) -> None:
    """Say something on stderr, in one line, whatever names are in it."""
    sys.stderr.write(f"septool: {printable(text)}\n")


def line(text: str) -> None:
    """Print a line of the result, above a bar if there is one; typer.echo would write into it.

    A program is given names as they are, a terminal as they can be shown.
    """
    sys.stdout.write((_shown(text) if sys.stdout.isatty() else text) + "\n")
    sys.stdout.flush()


def _shown(text: str) -> str:
    return "".join(part if part in ("\n", "\t") else printable(part) for part in re.split(r"([\n\t])", text))


class Tally:
    """What became of recordings: counted as they come, said at the end."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []

    def add(self, result: "WithFindings | Failed | Skipped") -> None:
        """Count one, and say what is missing from it: with --quiet, too, as a part that is lost is no detail."""
        from septool.batch.outcomes import Failed, Skipped

        self.outcomes[result.outcome] += 1
        if isinstance(result, Skipped):
            return
        if result.error is not None:
            self.errors.append(result.error)
        if isinstance(result, Failed) or not self.quiet:  # findings are said as they come
            return
        for finding in result.findings:
            if finding.is_partial and not finding.is_failure:  # which stands among the errors
                note(finding.text)

    def end(self) -> None:
        """Say the counts of several, then what failed; that ends the command with status 1."""
        if self.outcomes.total() > 1 and not self.quiet:
            note(", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items()))
        for error in self.errors:
            note(error)
        if self.errors:
            raise typer.Exit(1)


def json_line(row: JsonDict) -> None:
    """Print one JSON line; a number that is none becomes null."""
    line(json.dumps(finite_or_null(row)))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table; off a terminal as wide as it needs, so that nothing is cut in a pipe."""
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    body = [[_cell(value) for value in row] for row in rows]
    for index, column in enumerate(columns):
        numbers = all(_is_number(row[index]) for row in body) and bool(body)
        # What a row is of stays whole, to be copied.
        shown.add_column(column, justify="right" if numbers else "left", overflow="fold", no_wrap=index == 0)
    for row in body:
        shown.add_row(*row)
    console = _console()
    if console.is_terminal:
        console.print(shown)
        return
    needed = _console(width=10_000).measure(shown).maximum  # never measured as wider than the console
    console = _console(width=max(needed, 80))
    with console.capture() as drawn:
        console.print(shown)
    for row in drawn.get().splitlines():
        line(row.rstrip())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.2f}"
    return "-" if value is None else _shown(str(value))


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "").lstrip("-").isdigit()


def open_progress(label: str, style: str, *, quiet: bool) -> "Bar | JsonProgress":
    """Return how the progress of recordings is shown: ``bar``, ``json`` or ``none``."""
    return JsonProgress(quiet=quiet) if style == "json" else Bar(label, quiet=quiet, lines=False, shown=style == "bar")


class JsonProgress:
    """A JSON object a second on stderr, and one at the end, of the recording that is being worked on and of all so far.

    Where several processes work, none tells of its recording. Lines that are for people stay as they are; an object's
    begins with a brace.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._recording, self._done, self._total = "", 0.0, 0.0
        self._files, self._audio = 0, 0.0
        self._began = self._opened = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell_regularly, daemon=True)

    def __enter__(self) -> "JsonProgress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._tell()

    def follow(self, recording: str, done: float, total: float) -> None:
        """Take note of how many seconds of a recording are done."""
        if recording != self._recording:
            self._began = time.monotonic()
        self._recording, self._done, self._total = recording, done, total

    def count_file(self, seconds: float = 0.0) -> None:
        """Take note that a recording of so many seconds is done."""
        self._files += 1
        self._audio += seconds

    def say(self, text: str) -> None:
        """Say something for people."""
        if not self.quiet:
            note(text)

    def _tell_regularly(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            self._tell()

    def _tell(self) -> None:
        elapsed = time.monotonic() - self._began
        speed = self._done / elapsed if self._done and elapsed else None
        row = {
            "recording": self._recording or None,
            "done_s": round(self._done, 2),
            "total_s": round(self._total, 2),
            "files_done": self._files,
            "files_done_s": round(self._audio, 2),  # sound in them
            "files_speed": self._audio and round(self._audio / (time.monotonic() - self._opened), 2),
            "speed": speed and round(speed, 2),  # seconds of the recording in a second
            "left_s": speed and round((self._total - self._done) / speed, 1),
        }
        sys.stderr.write(json.dumps(row) + "\n")
        sys.stderr.flush()


class Bar:
    """A progress bar on a terminal; a plain line every tenth of the way, or after a minute, elsewhere.

    With ``lines`` off nothing is said elsewhere, where results are lines themselves.
    """

    def __init__(self, label: str, *, quiet: bool, lines: bool = True, shown: bool = True) -> None:
        self.label, self.quiet, self.lines = label, quiet, lines
        self._tenths, self._reported_at = 0, 0.0  # the last line's progress and time
        self._began: tuple[float, int] | None = None  # when, and how far it was by then
        self._rich: Progress | None = None
        if shown and not quiet and sys.stderr.isatty():
            self._rich = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=_console(stderr=True),
                redirect_stdout=sys.stdout.isatty(),  # results go above the bar, but never from a pipe to stderr
            )
            self._task = self._rich.add_task(label, total=None, note="")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich:
            self._rich.stop()

    def follow(self, recording: str, done: float, total: float) -> None:
        """Show how many seconds of a recording are done."""
        self.update(round(done), round(total), recording)

    def count_file(self, seconds: float = 0.0) -> None:
        """Take note that a recording of so many seconds is done."""

    def update(self, done: int, total: int, text: str = "") -> None:
        """Show how far it is, with a few words."""
        if self._rich:
            self._rich.start()  # not before: a question, or the bar of a download, may come first
            self._rich.update(self._task, completed=done, total=total, note=printable(text))
        elif self.lines and not self.quiet and total:
            self._tell(done, total, text)

    def _tell(self, done: int, total: int, text: str) -> None:
        now, tenths = time.monotonic(), done * 10 // total
        if self._began is None:
            self._began, self._reported_at = (now, done), now
        if tenths <= self._tenths and now - self._reported_at < SILENT_SECONDS:
            return
        self._tenths, self._reported_at = tenths, now
        since, start = self._began
        left = ""
        if start < done < total:
            left = f"{timedelta(seconds=round((now - since) / (done - start) * (total - done)))} left"
        note(f"{self.label} {done}/{total} {', '.join(filter(None, (text, left)))}".rstrip())

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.quiet:
            return
        if self._rich:
            self._rich.console.print(printable(text))
        else:
            note(text)
