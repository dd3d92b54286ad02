"""Resampling and downmixing of samples in memory, and the check that they are finite."""

import sys
from typing import Any, cast

import numpy as np
import soxr

from septool.errors import AudioError, UsageError
from septool.printable import printable

LARGEST = 1e10  # files that hold integers as floats reach 2^31; the squares of what is beyond leave float32


def check_finite(samples: np.ndarray, name: object) -> None:
    """Refuse a recording ``[..., time]`` with a sample that is not finite, or too large to compute with."""
    if not samples.size:
        return
    largest = float(max(samples.max(), -samples.min()))
    if not np.isfinite(largest):
        raise AudioError(f"{printable(name)} holds non-finite samples (NaN or infinite)")
    if largest > LARGEST:
        raise AudioError(f"{printable(name)} holds samples of {largest:.0e}; full scale is 1. Is it damaged?")


def as_samples(recording: Any, name: str) -> np.ndarray:
    """Return what a program hands over, an array or a tensor ``[time]``, in float32.

    Args:
        recording: floating-point samples of one channel.
        name: what it is called in messages.

    Raises:
        UsageError: it has more axes, or integers, whose full scale nobody knows.
    """
    torch: Any = sys.modules.get("torch")  # which a tensor has imported
    is_tensor = torch is not None and isinstance(recording, torch.Tensor)
    samples = recording.detach().cpu() if is_tensor else cast("Any", np.asarray(recording))
    if samples.ndim != 1:
        raise UsageError(f"{name} is [time], this one is {list(samples.shape)}; give one channel of it")
    if not (samples.is_floating_point() if is_tensor else samples.dtype.kind == "f"):
        raise UsageError(f"{name} is floating-point samples between -1 and 1, this one is {samples.dtype}")
    return samples.float().numpy() if is_tensor else samples.astype(np.float32)


def to_mono(samples: np.ndarray, channel: int | None = None) -> np.ndarray:
    """Average the channels of ``[channel, time]``, or take one of them, counted from 1."""
    if channel is not None:
        return np.ascontiguousarray(samples[channel - 1])
    return samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)


class StreamResampler:
    """Resampling of blocks ``[channel, time]`` that follow one another, the same however they are cut.

    Args:
        rate: Hz of what comes in.
        target: Hz of what goes out.
        channels: how many.
    """

    def __init__(self, rate: int, target: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(rate, target, channels, dtype="float32") if rate != target else None

    def push(self, block: np.ndarray, *, last: bool = False) -> np.ndarray:
        """Return what is final after a block, all of it after the last one; ``[channel, time]``."""
        if self._stream is None:
            return block
        return self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last).T


def resample(samples: np.ndarray, rate: float, target: float) -> np.ndarray:
    """Resample ``[time]`` (or ``[channel, time]``) with soxr's high-quality filter."""
    if rate == target:
        return samples
    return soxr.resample(samples.T, rate, target, quality="HQ").T
