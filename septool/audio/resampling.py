"""Resampling and downmixing of samples in memory, and the check that they are finite."""

import sys
from typing import Any, cast

import numpy as np
import soxr

from septool.errors import AudioError, UsageError
from septool.printable import printable

LARGEST = 1e10  # integer samples stored as floats reach 2^31; squares of larger values overflow float32


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
    """Return an array or a tensor ``[time]`` as float32 samples.

    Args:
        recording: floating-point samples of one channel.
        name: its name in messages.

    Raises:
        UsageError: it has more axes, or integers, whose full scale is unknown.
    """
    torch: Any = sys.modules.get("torch")  # imported already if the recording is a tensor
    is_tensor = torch is not None and isinstance(recording, torch.Tensor)
    samples = recording.detach().cpu() if is_tensor else cast("Any", np.asarray(recording))
    if samples.ndim != 1:
        raise UsageError(f"{name} has the shape {list(samples.shape)}; give one channel, [time]")
    if not (samples.is_floating_point() if is_tensor else samples.dtype.kind == "f"):
        raise UsageError(f"{name} is {samples.dtype}; give floating-point samples between -1 and 1")
    return samples.float().numpy() if is_tensor else samples.astype(np.float32)


def to_mono(samples: np.ndarray, channel: int | None = None) -> np.ndarray:
    """Average the channels of ``[channel, time]``, or take one of them, counted from 1."""
    if channel is not None:
        return np.ascontiguousarray(samples[channel - 1])
    return samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)


class StreamResampler:
    """Resampling of consecutive blocks ``[channel, time]``, independent of the block lengths.

    Args:
        rate: input rate in Hz.
        target: output rate in Hz.
        channels: number of channels.
    """

    def __init__(self, rate: int, target: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(rate, target, channels, dtype="float32") if rate != target else None

    def push(self, block: np.ndarray, *, last: bool = False) -> np.ndarray:
        """Append a block; return the final samples, ``[channel, time]``, all of them after the last block."""
        if self._stream is None:
            return block
        return self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last).T


def resample(samples: np.ndarray, rate: float, target: float) -> np.ndarray:
    """Resample ``[time]`` (or ``[channel, time]``) with soxr's high-quality filter."""
    if rate == target:
        return samples
    return soxr.resample(samples.T, rate, target, quality="HQ").T
