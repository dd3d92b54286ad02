"""Recordings with a wider band than the model's, and the hint at a wideband checkpoint."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from septool import audio
from septool.errors import AudioError

PROBE_S = 30.0  # of a recording that are looked at
SHARE = 1e-4  # of the power above the model's band: below it there is nothing of a voice
MARGIN = 1.1  # over the edge of the band, where resamplers of what a recording was made from still leak


def has_sound_above(path: Path, frequency: float, *, track: int = 1, raw: audio.RawFormat | None = None) -> bool:
    """Say whether a recording has sound above a frequency in Hz, by its first half minute.

    One that cannot be read, or only once, has none.
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
    with np.errstate(all="ignore"):  # non-finite samples are found elsewhere
        power = np.square(np.abs(np.fft.rfft(samples - samples.mean(1, keepdims=True)))).sum(0)
    above = np.fft.rfftfreq(samples.shape[1], 1 / rate) > frequency
    return bool(power[above].sum() > SHARE * power.sum())
