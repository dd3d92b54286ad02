"""A page to listen to what was made of recordings: players and spectrograms one above the other.

Sound stays in its files, which the page points to from where it lies; pictures are inside it. A recording of
any length is looked at in as many places as a picture has columns.
"""

import base64
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from os.path import relpath
from pathlib import Path
from urllib.parse import quote

import numpy as np

from septool import audio
from septool.errors import AudioError, UsageError
from septool.files import atomic_write, make_folder

COLUMNS, ROWS = 900, 128  # of a spectrogram's picture
WINDOW = 0.032  # seconds
RANGE_DB = 70.0  # below the loudest of a picture; what is quieter is black
STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
    "figure{margin:.5em 0}img,audio{display:block;width:100%}img{height:8em}"
    "section{border-top:1px solid #ddd;padding-top:1em}p.failed{color:#a00}"
)


@dataclass(frozen=True)
class Track:
    """A recording and what it is."""

    title: str
    path: Path


@dataclass(frozen=True)
class Entry:
    """Recordings that are compared, or, with none, a word on why there are none."""

    title: str
    about: str
    tracks: Sequence[Track] = ()


def check(html: Path, *, force: bool) -> None:
    """Refuse, before anything is done, a page that cannot be made.

    Raises:
        UsageError: another suffix, a file that is there, or no matplotlib.
    """
    if html.suffix != ".html":
        raise UsageError(f"--html {html} has to end in .html")
    if html.exists() and not force:
        raise UsageError(f"{html} exists; use --force to replace it")
    try:
        import matplotlib.image  # noqa: F401
    except ImportError:
        raise UsageError("pictures need matplotlib; install it with: pip install 'septool[plot]'") from None


def write(html: Path, title: str, entries: Iterable[Entry]) -> None:
    """Write a page of entries, whole or not at all."""
    sections = "".join(_section(entry, html.parent) for entry in entries)
    make_folder(html.parent)
    with atomic_write(html) as partial:
        partial.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
            f"<style>{STYLE}</style><h1>{escape(title)}</h1>{sections}</html>\n",
            encoding="utf-8",
            errors="replace",  # in names that are not UTF-8
        )


def _section(entry: Entry, folder: Path) -> str:
    kind = "" if entry.tracks else ' class="failed"'
    try:
        tracks = "".join(_figure(track, folder) for track in entry.tracks)
    except AudioError as error:  # gone since, or damaged
        return _section(Entry(entry.title, str(error)), folder)
    about = f"<p{kind}>{escape(entry.about)}</p>" if entry.about else ""
    return f"<section><h2>{escape(entry.title)}</h2>{about}{tracks}</section>"


def _figure(track: Track, folder: Path) -> str:
    where = quote(os.fsencode(Path(relpath(track.path, folder)).as_posix()))
    about = audio.audio_info(track.path)
    caption = f"{track.title}: {about.frames / about.rate:.1f} s, {about.rate} Hz"
    drawn = base64.b64encode(picture(track.path)).decode()
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><img alt="spectrogram" src="data:image/png;base64,{drawn}">'
        f'<audio controls preload="none" src="{where}"></audio></figure>'
    )


def picture(path: Path) -> bytes:
    """Draw a recording's spectrogram, the lowest frequency at the bottom, as a PNG file."""
    from matplotlib.image import imsave

    levels = spectrogram(path)
    image = io.BytesIO()
    imsave(image, levels, format="png", origin="lower", cmap="magma", vmin=levels.max() - RANGE_DB, vmax=levels.max())
    return image.getvalue()


def spectrogram(path: Path) -> np.ndarray:
    """Return levels in dB, ``[frequency, column]``, the mean over channels."""
    with audio.open_audio(path) as file:
        size = max(round(WINDOW * file.samplerate), 2 * ROWS)
        starts = np.linspace(0, max(file.frames - size, 0), COLUMNS).round().astype(int)
        bounds = np.linspace(1, size // 2 + 1, ROWS + 1).round().astype(int)[:-1]
        columns = []
        for start in starts:
            file.seek(start)
            stretch = audio.to_mono(file.read(size, dtype="float32", always_2d=True, fill_value=0).T)
            power = np.square(np.abs(np.fft.rfft(stretch * np.hanning(size))))
            columns.append(np.add.reduceat(power, bounds))
    return 10 * np.log10(np.stack(columns, axis=1) + 1e-10)
