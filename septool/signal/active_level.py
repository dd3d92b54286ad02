"""Active speech level (ITU-T P.56, method B): the level of a recording while somebody speaks in it.

Pauses longer than the hangover do not count, so the same voice with more silence around it has the same
level. Details that the recommendation leaves open are those of VOICEBOX's ``activlev`` (version of 2012),
with which WSJ0-2mix was made: the band is limited first, thresholds lie 3 dB apart below the peak of the
envelope, and the level is read off by linear interpolation in dB.
"""

# pyright: reportMissingTypeStubs=false

import math
from typing import Any, NamedTuple

import numpy as np

from septool.signal.levels import power_to_db

TIME_CONSTANT = 0.03  # s, of each of the envelope's two smoothing stages
HANGOVER = 0.2  # s; a shorter pause is part of the speech
MARGIN_DB = 15.9  # from the active level down to the threshold of activity
THRESHOLDS = 20  # 60 dB


class ActiveLevel(NamedTuple):
    """Power while somebody speaks (1.0 is the power of full scale's square wave), and the share of that time."""

    power: float
    activity: float


def active_level(samples: np.ndarray, rate: int) -> ActiveLevel:
    """Measure ``samples [time]``; silence has power 0 and activity 0."""
    import scipy.ndimage
    import scipy.signal

    ndimage: Any = scipy.ndimage  # which have no annotations
    signal: Any = scipy.signal
    if not np.any(samples):
        return ActiveLevel(0.0, 0.0)
    band = _band(np.asarray(samples, dtype=np.float64), rate)
    energy = float(np.square(band).sum())
    pole = math.exp(-1 / (rate * TIME_CONSTANT))
    envelope: np.ndarray = signal.lfilter([(1 - pole) ** 2], [1, -2 * pole, pole**2], np.abs(band))
    power = np.square(envelope)
    # The power of two just above each sample; what is silent lies below every threshold.
    exponent = np.where(power > 0, np.frexp(power)[1], np.iinfo(np.int32).min // 2)
    held = math.ceil(HANGOVER / (1 / rate)) + 1
    # The filter looks `held` samples back: its origin is the window's last sample.
    exponent: np.ndarray = ndimage.maximum_filter1d(exponent, held, mode="nearest", origin=(held - 1) // 2)
    top = int(exponent.max())
    bin_index = np.minimum(top - exponent, THRESHOLDS - 1)
    active = np.cumsum(np.bincount(bin_index, minlength=THRESHOLDS))  # samples above each threshold
    level_db = power_to_db(energy / active)
    threshold_db = power_to_db(2.0) * (top - 1 - np.arange(THRESHOLDS))
    over = level_db - threshold_db - MARGIN_DB
    power = 10 ** (_crossing(over, level_db) / 10)
    return ActiveLevel(power, energy / (len(band) * power))


def _crossing(over: np.ndarray, level_db: np.ndarray) -> float:
    """Return the level at which it stands the margin above the threshold."""
    (rising,) = np.nonzero((over[:-1] < 0) & (over[1:] >= 0))
    if not len(rising):
        return float(level_db[-1] if over[-1] <= 0 else level_db[0])
    below, above = rising[0], rising[0] + 1
    share = over[below] / (over[below] - over[above])
    return float(level_db[below] + share * (level_db[above] - level_db[below]))


def _band(samples: np.ndarray, rate: int) -> np.ndarray:
    """Keep 200 Hz to 5.5 kHz (all above 200 Hz at rates below 14 kHz)."""
    import scipy.signal

    signal: Any = scipy.signal
    # A Chebyshev filter of the second kind, of order 5, with a stop band at -50 dB, is given by where that
    # begins; these have -0.25 dB at the edge of the pass band. The bilinear transform bends frequencies.
    ratio = math.cosh(math.acosh(math.sqrt((10**5.0 - 1) / (10**0.025 - 1))) / 5)

    def sections(edge: float, factor: float, kind: str) -> np.ndarray:
        stop = rate / math.pi * math.atan(factor * math.tan(math.pi * edge / rate))
        return np.asarray(signal.cheby2(5, 50, stop, kind, output="sos", fs=rate))

    filters = [sections(200, 1 / ratio, "highpass")] + ([sections(5500, ratio, "lowpass")] if rate >= 14_000 else [])
    return np.asarray(signal.sosfilt(np.concatenate(filters), samples))
