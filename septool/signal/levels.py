"""Levels: root mean square, decibels, and the level at which models are fed; arrays of numpy or torch's."""

import math
import sys
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

if TYPE_CHECKING:  # for the types alone: mixing reads decibels without torch
    from torch import Tensor

Decibels = TypeVar("Decibels", float, np.ndarray)
Samples = TypeVar("Samples", np.ndarray, "Tensor")

DC_SHARE = 0.1  # share of the RMS from which a DC offset costs separation more than a tenth of a dB
SILENCE = 1e-5  # RMS that counts as none
EMPTY_DB = -80.0  # RMS relative to full scale below which an utterance or a clip has no sound in it
MODEL_LEVEL_DB = -20.0  # RMS relative to full scale of what a model is given, in training and in use


def namespace(x: "np.ndarray | Tensor") -> Any:
    """Return the module whose functions work on an array ``[...]``: numpy, or torch, which a tensor has imported."""
    return np if isinstance(x, np.ndarray) else sys.modules["torch"]


def rms(x: Samples) -> Samples:
    """Root mean square over time: ``[..., time] -> [..., 1]``."""
    xp = namespace(x)
    return xp.sqrt(xp.mean(xp.square(x), -1, keepdims=True))


def power_of(samples: np.ndarray, dtype: type[np.floating] | None = np.float64) -> np.floating:
    """Mean square of all samples of an array ``[...]``, 0 of none; ``dtype`` to compute in, None for the array's."""
    return np.mean(np.square(samples, dtype=dtype)) if samples.size else np.float64(0)


def rms_of(samples: np.ndarray, dtype: type[np.floating] | None = np.float64) -> np.floating:
    """Root mean square of all samples of an array ``[...]``; see :func:`power_of`."""
    return np.sqrt(power_of(samples, dtype))


def remove_dc(x: Samples) -> Samples:
    """Subtract the DC offset of ``[..., time]``: cheap converters add one, which is no sound but counts as level.

    An offset below :data:`DC_SHARE` of the RMS is left, so that digital silence between words stays silence.
    """
    xp = namespace(x)
    mean = xp.mean(x, -1, keepdims=True)
    return x - xp.where(xp.abs(mean) > DC_SHARE * rms(x), mean, xp.zeros_like(mean))


def from_db(db: Decibels) -> Decibels:
    """Amplitude ratio of a level difference in dB."""
    return 10 ** (db / 20)


def to_db(amplitude: float) -> float:
    """Level difference in dB of an amplitude ratio above 0; ValueError for others."""
    return 20 * math.log10(amplitude)


@overload
def power_to_db(power: np.ndarray) -> np.ndarray: ...
@overload
def power_to_db(power: float | np.floating) -> np.floating: ...
def power_to_db(power: np.ndarray | float | np.floating) -> np.ndarray | np.floating:
    """Level difference in dB of power ratios ``[...]``; minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(power)


def energy_ratio_db(signal: "Tensor", noise: "Tensor", eps: float = 0.0) -> "Tensor":
    """Ratio of the energies over time of two signals ``[..., time]``, in dB: ``[...]``.

    ``eps`` is added to the energy of the noise and to the ratio: not to the signal's, or silence would have 0 dB and
    so be better than all that is mostly noise.
    """
    return 10 * (signal.square().sum(-1) / (noise.square().sum(-1) + eps) + eps).log10()


def model_gain(mixture: "Tensor") -> "Tensor":
    """Gain ``[..., 1]`` that brings a mixture ``[..., time]`` to :data:`MODEL_LEVEL_DB`.

    A recording quieter than :data:`SILENCE` (-100 dB) is left as it is: it is silence, not a quiet voice.
    """
    level = rms(mixture)
    return (from_db(MODEL_LEVEL_DB) / level.clamp_min(SILENCE)).where(level > SILENCE, 1.0)


def at_model_level(wave: "Tensor") -> "Tensor":
    """Remove the DC offset of ``[..., time]`` and bring it to :data:`MODEL_LEVEL_DB`, as networks are given it."""
    centered = remove_dc(wave)
    return centered * model_gain(centered)


def standard_deviation(x: "Tensor", correction: int = 1) -> "Tensor":
    """Standard deviation over time, ``[..., time] -> [..., 1]``; at least :data:`SILENCE`, to be divided by.

    ``correction`` is subtracted from the number of samples, as far as there are more.
    """
    return x.std(-1, keepdim=True, correction=min(correction, x.shape[-1] - 1)).clamp_min(SILENCE)
