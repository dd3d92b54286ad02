"""Levels: root mean square, decibels, and the level at which models are fed."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:  # for the types alone: mixing reads decibels without torch
    from torch import Tensor

Decibels = TypeVar("Decibels", float, np.ndarray)

OFFSET = 0.1  # part of the level from which an offset costs separation more than a tenth of a dB
MODEL_LEVEL_DB = -20.0  # RMS relative to full scale of what a model is given, in training and in use


def rms(x: "Tensor") -> "Tensor":
    """Root mean square over time: ``[..., time] -> [..., 1]``."""
    return x.square().mean(-1, keepdim=True).sqrt()


def centred(x: "Tensor") -> "Tensor":
    """Take the offset of ``[..., time]`` away: cheap converters add one, which is no sound but counts as level.

    One that is a small part of the level is left, so that digital silence between words stays silence.
    """
    mean = x.mean(-1, keepdim=True)
    return x - mean.where(mean.abs() > OFFSET * rms(x), 0.0)


def from_db(db: Decibels) -> Decibels:
    """Amplitude ratio of a level difference in dB."""
    return 10 ** (db / 20)


def model_gain(mixture: "Tensor", floor: float = 1e-5) -> "Tensor":
    """Gain ``[..., 1]`` that brings a mixture to :data:`MODEL_LEVEL_DB`.

    A recording quieter than ``floor`` (-100 dB) is left as it is: it is silence, not a quiet voice.
    """
    level = rms(mixture)
    return (from_db(MODEL_LEVEL_DB) / level.clamp_min(floor)).where(level > floor, 1.0)
