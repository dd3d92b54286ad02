"""Feeding a model: the level it expects on the way in, the recording's level on the way out."""

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from septool.errors import SeptoolError, UsageError
from septool.models.base import Extractor, Found, Separator
from septool.signal.levels import centred, model_gain

LOG = logging.getLogger(__name__)
# What a mere RuntimeError says where memory is short: torch on processors, on MPS, CUDA's libraries.
NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED", "bad_alloc")


def feed(model: Separator, mixture: Tensor) -> Tensor:
    """Run a separator at the level it was trained at.

    Args:
        model: the separator.
        mixture: ``[batch, time]`` at any level, around any offset.

    Returns:
        ``[batch, source, time]``. The scale of each source is the model's own: SI-SNR does not train it.
    """
    mixture = centred(mixture)
    gain = model_gain(mixture)
    return model(mixture * gain) / gain[:, None]


def find(model: Extractor, mixture: Tensor, embedding: Tensor) -> Found:
    """Run an extractor on ``mixture [batch, time]`` at the level it was trained at; see :class:`Extractor`."""
    mixture = centred(mixture)
    gain = model_gain(mixture)
    voice, presence = model.find(mixture * gain, embedding)
    return Found(voice / gain, presence)


def fit_scale(mixture: Tensor, estimates: Tensor, ridge: float = 1e-4) -> Tensor:
    """Scale estimates so that together they explain the mixture best, in least squares.

    SI-SNR leaves the scale of each output free; this gives the voices back the levels they have in
    the recording. A small ridge keeps two nearly equal outputs from blowing each other up.

    Args:
        mixture: ``[batch, time]``.
        estimates: ``[batch, source, time]``.
        ridge: part of the estimates' mean energy added to the normal equations' diagonal.
    """
    gram = estimates @ estimates.mT  # [B, C, C]
    sources = gram.shape[-1]
    mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    eye = torch.eye(sources, device=gram.device, dtype=gram.dtype)
    gains = torch.linalg.solve(gram + (ridge * mean + 1e-12) * eye, estimates @ mixture[..., None])
    return estimates * gains


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Turn a lack of memory, of the processor or of a device, into a line about ``what`` it was for."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
            words in str(error) for words in NO_MEMORY
        ):
            raise
        raise SeptoolError(f"there is not enough memory {what}") from error


def choose_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that is there.

    Raises:
        UsageError: no such device, in words.
    """
    device = _device(name)
    LOG.info("%s (%s), torch %s", device, hardware(device), torch.__version__)
    return device


def hardware(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; it can be auto, cpu, cuda, cuda:N or mps") from None
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in there:
        raise UsageError(f"unknown device {name!r}; it can be auto, cpu, cuda, cuda:N or mps")
    if (device.index or 0) >= there[device.type]:
        raise UsageError(f"device {name} is not there; this machine has {there[device.type]} {device.type} device(s)")
    return device
