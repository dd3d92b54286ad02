"""Recordings that have more to hear than a model hears, and what would hear it."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from septool import audio, catalogue
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


def suggest_wider(sources: int, sample_rate: int) -> str | None:
    """Name the published checkpoint of as many voices that works at a higher rate; None if there is none.

    Those whose training data restrict their use come last, the others by their scores.
    """
    fitting = {
        name: entry
        for name, entry in catalogue.read_catalogue().items()
        if entry.files and entry.sources == sources and entry.sample_rate > sample_rate
    }
    scores = ("si_snri", "si_sdri", "si_snr")

    def order(name: str) -> tuple[bool, float]:
        published = fitting[name].published
        return bool(fitting[name].notices), -max((published.get(score, 0.0) for score in scores), default=0.0)

    name = min(fitting, key=order, default=None)
    if name is None:
        return None
    hears = f"--model {name} works up to {fitting[name].sample_rate // 2} Hz"
    return f"there is sound above {sample_rate // 2} Hz; {hears}"
