"""Recordings with a wider band than the model's, and the hint at a wideband checkpoint."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from septool import audio
from septool.errors import AudioError

PROBE_S = 30.0  # length of the analyzed part of a recording
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
            return _has_power_above(file.read(round(PROBE_S * file.rate)), file.rate, MARGIN * frequency)
    return False


def _has_power_above(samples: np.ndarray, rate: int, frequency: float) -> bool:
    if not samples.size:
        return False
    with np.errstate(all="ignore"):  # non-finite samples are detected elsewhere
        power = np.square(np.abs(np.fft.rfft(samples - samples.mean(1, keepdims=True)))).sum(0)
    above = np.fft.rfftfreq(samples.shape[1], 1 / rate) > frequency
    return bool(power[above].sum() > SHARE * power.sum())
