"""Recordings with a wider band than the model's, and the hint at a wideband checkpoint."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from septool import audio
from septool.errors import AudioError

PROBE_S = 30  # seconds of a recording that are analyzed
SHARE = 1e-4  # fraction of the power above the model's band that indicates speech there
MARGIN = 1.1  # relative to the band edge; resamplers leak just above it


def has_sound_above(path: Path, frequency: float, *, track: int = 1, raw: audio.RawFormat | None = None) -> bool:
    """Return whether a recording has energy above a frequency in Hz, judged by its first half minute.

    False for recordings that cannot be read, or only once.
    """
    if not path.is_file():
        return False
    with suppress(AudioError), audio.open_audio(path, track=track, raw=raw) as file:
        if file.rate > 2 * frequency * MARGIN:
            return _has_power_above(file, MARGIN * frequency)
    return False


def _has_power_above(file: audio.AudioFile, frequency: float) -> bool:
    power = np.zeros(file.rate // 2 + 1)
    for _ in range(PROBE_S):  # a second at once: many channels at a high rate are large
        samples = file.read(file.rate)
        if not samples.size:
            break
        window = np.hanning(samples.shape[1]).astype(samples.dtype)  # the ends of the blocks are no sound
        with np.errstate(all="ignore"):  # non-finite samples are detected elsewhere
            centered = samples - samples.mean(1, keepdims=True)
            power += np.square(np.abs(np.fft.rfft(centered * window, n=file.rate))).sum(0)
    above = np.fft.rfftfreq(file.rate, 1 / file.rate) > frequency
    return bool(power[above].sum() > SHARE * power.sum())
