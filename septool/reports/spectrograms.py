"""Spectrograms of recordings, and pictures of them.

They have as many columns for a recording of any length, each the mean of up to sixteen places.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from septool import audio
from septool.signal.levels import power_to_db

COLUMNS, ROWS = 900, 128  # size of a spectrogram's picture
WINDOW_S = 0.032
PLACES = 16  # at most, of a recording that a column is the mean of
RANGE_DB = 70.0  # below the loudest of a picture; what is quieter is black


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
        per_column = min(PLACES, length // size)
        columns = []
        for part in _excerpts(file, frames, starts, size, length):  # [channel, time]
            padded = np.pad(part, ((0, 0), (0, max(size - part.shape[1], 0))))
            first = np.linspace(0, padded.shape[1] - size, per_column).astype(int)
            excerpts = np.stack([padded[:, start : start + size] for start in first])
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
