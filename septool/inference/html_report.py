"""HTML reports with players and spectrograms of recordings and their estimates.

Sound stays in its files, which the report points to from where it lies; pictures are inside it. They have as many
columns for a recording of any length, each the mean of up to sixteen places.
"""

import base64
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from septool import audio
from septool.atomic import NAME_LIMIT, atomic_write
from septool.config import JsonDict
from septool.errors import AudioError, UsageError
from septool.files import make_folder, refuse_existing, relative_path, why_not_writable
from septool.inference.lanes import FINEST, Span, TimeAxis, format_time
from septool.printable import printable
from septool.signal.levels import power_to_db
from septool.signal.turns import Turn, find_overlaps

COLUMNS, ROWS = 900, 128  # of a spectrogram's picture
WINDOW_S = 0.032
PLACES = 16  # at most, of a recording that a column is the mean of
RANGE_DB = 70.0  # below the loudest of a picture; what is quieter is black


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
    url: str  # of the sound, relative to the report unless it is on another drive
    png: str  # in base64
    title: str
    seconds: float
    spans: Sequence[Span] | None


def check_html_report(html: Path, *, force: bool) -> None:
    """Refuse, before anything is done, a report that cannot be made.

    Raises:
        UsageError: another suffix, a folder that it cannot be written to, or no matplotlib.
        SeptoolError: it is there.
    """
    if html.suffix != ".html":
        raise UsageError(f"--html {html} has to end in .html")
    if len(os.fsencode(html.name)) > NAME_LIMIT:
        raise UsageError(f"--html {html} has a name of more than {NAME_LIMIT} bytes")
    folder = html.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"--html {html} cannot be written: {folder} is a file, not a folder")
    if html.exists() and not os.access(html, os.W_OK):
        raise UsageError(f"--html {html} cannot be written: no permission for {html}")
    if reason := why_not_writable(folder):
        raise UsageError(f"--html {html} cannot be written: {reason} for {folder}")
    if html.is_dir():
        raise UsageError(f"--html {html} is a folder; name a file")
    refuse_existing(html, force=force)
    try:
        import matplotlib.image  # noqa: F401 - and Pillow, which it brings
    except ImportError:
        raise UsageError("spectrograms need matplotlib; install it with: pip install 'septool[plot]'") from None


def write_html_report(html: Path, title: str, entries: Iterable[Entry]) -> None:
    """Write a report of entries, whole or not at all."""
    text = render_template("report.html.j2", title=title, sections=list(_sections(entries, html.parent)))
    make_folder(html.parent)
    with atomic_write(html) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")  # in names that are not UTF-8


def render_template(name: str, package: str = "septool.inference", **values: object) -> str:
    """Fill in one of a package's templates, which may extend those beside this file; values are escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("septool.inference")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values)


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
    turns = [Turn(*span, str(place)) for place, figure in enumerate(figures) for span in figure.spans or ()]
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


def spectrogram_png(path: Path) -> bytes:
    """Draw a recording's spectrogram, the lowest frequency at the bottom, as a PNG file."""
    from matplotlib import colormaps
    from PIL import Image

    levels = spectrogram(path)
    shades = np.clip((levels - levels.max()) / RANGE_DB + 1, 0, 1) * 255
    picture = Image.fromarray(shades.round().astype(np.uint8)[::-1])
    picture.putpalette(colormaps["magma"](np.arange(256), bytes=True)[:, :3].tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def spectrogram(path: Path) -> np.ndarray:
    """Return the levels of a recording in dB, ``[frequency, column]``, the mean over channels."""
    frames = audio.audio_info(path).frames  # as many as there are, whatever the header says
    with audio.open_audio(path) as file:
        size = max(round(WINDOW_S * file.rate), 2 * ROWS)
        starts = np.linspace(0, max(frames - size, 0), COLUMNS).round().astype(int).tolist()
        bounds = np.linspace(1, size // 2 + 1, ROWS + 1).round().astype(int)[:-1]
        length = max(size, frames // COLUMNS)
        places = min(PLACES, length // size)
        columns = []
        for part in _excerpts(file, frames, starts, size, length):  # [channel, time]
            padded = np.pad(part, ((0, 0), (0, max(size - part.shape[1], 0))))
            first = np.linspace(0, padded.shape[1] - size, places).astype(int)
            excerpts = np.stack([padded[:, each : each + size] for each in first])
            # Their powers, since the channels themselves may cancel each other.
            power = np.square(np.abs(np.fft.rfft(excerpts * np.hanning(size)))).mean(axis=(0, 1))
            columns.append(np.add.reduceat(power, bounds))
    return power_to_db(np.stack(columns, axis=1) + 1e-10)


def _excerpts(
    file: audio.AudioFile, frames: int, starts: Sequence[int], size: int, length: int
) -> Iterator[np.ndarray]:
    """Yield ``[channel, time]`` from each start on; what windows of ``size`` cover twice is read once, whole."""
    if frames <= len(starts) * size:
        whole = file.read(frames)
        yield from (whole[:, start : start + length] for start in starts)
        return
    for start in starts:
        file.seek(start)
        yield file.read(length)
