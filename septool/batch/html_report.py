"""HTML reports with players and spectrograms of recordings and their estimates.

Sound stays in its files, which the report points to from where it lies; pictures are inside it.
"""

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from septool import audio
from septool.atomic import atomic_write
from septool.batch.lanes import FINEST, Span, TimeAxis, format_time
from septool.config import JsonDict
from septool.errors import AudioError
from septool.files import make_folder, relative_path
from septool.printable import printable
from septool.reports.pages import render_template
from septool.reports.spectrograms import spectrogram_png
from septool.signal.turns import Turn, find_overlaps


@dataclass(frozen=True)
class Track:
    """A recording and what it is."""

    title: str
    path: Path
    spans: Sequence[Span] | None = None  # s in which somebody speaks, where that is known


@dataclass(frozen=True)
class Entry:
    """Recordings that are compared, or the error that there are none for.

    Where it is known of a track when somebody speaks in it, all are shown on one time axis.
    """

    title: str
    error: str = ""
    tracks: Sequence[Track] = ()
    notes: Sequence[str] = ()  # warnings


class Figure(NamedTuple):
    """What the report shows of a track."""

    caption: str
    url: str  # address of the sound, relative to the report unless it is on another drive
    png: str  # in base64
    title: str
    seconds: float
    spans: Sequence[Span] | None


def write_html_report(html: Path, title: str, entries: Iterable[Entry]) -> None:
    """Write a report of entries, whole or not at all."""
    text = render_template(
        "report.html.j2", "septool.batch", title=title, sections=list(_sections(entries, html.parent))
    )
    make_folder(html.parent)
    with atomic_write(html) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")  # in names that are not UTF-8


def _sections(entries: Iterable[Entry], folder: Path) -> Iterator[JsonDict]:
    for entry in entries:
        figures, error = [], entry.error
        try:
            figures = [_figure(track, folder) for track in entry.tracks]
        except AudioError as gone:  # since, or damaged
            error = str(gone)
        notes = [printable(note) for note in entry.notes]
        lanes = _lanes(figures) if any(figure.spans is not None for figure in figures) else None
        yield {
            "title": printable(entry.title),
            "error": printable(error),
            "notes": notes,
            "figures": () if lanes else figures,
            "lanes": lanes,
        }


def _lanes(figures: Sequence[Figure]) -> JsonDict:
    """Return what the template draws of tracks on one time axis: marks, and a lane a track."""
    axis = TimeAxis(max(figure.seconds for figure in figures))
    everybody = [span for figure in figures for span in figure.spans or ()]
    turns = [Turn(*span, str(index)) for index, figure in enumerate(figures) for span in figure.spans or ()]
    both = [(turn.start, turn.end) for turn in find_overlaps(turns)]
    lanes = []
    for figure in figures:
        spans = everybody if figure.spans is None else figure.spans
        spoken = sum(end - start for start, end in spans)
        lanes.append(
            {
                "figure": figure,
                "activity": axis.path(spans),
                "overlap": axis.path(both) if figure.spans is None else "",
                "spoken": format_time(round(spoken)) if figure.spans else None,
            }
        )
    return {"marks": axis.marks(), "seconds": axis.seconds, "columns": FINEST, "lanes": lanes}


def _figure(track: Track, folder: Path) -> Figure:
    info, way = audio.audio_info(track.path), relative_path(track.path, folder)
    return Figure(
        caption=f"{track.title}: {info.frames / info.rate:.1f} s, {info.rate} Hz",
        url=way.as_uri() if way.is_absolute() else quote(os.fsencode(way.as_posix())),
        png=base64.b64encode(spectrogram_png(track.path)).decode(),
        title=track.title,
        seconds=info.frames / info.rate,
        spans=track.spans,
    )
