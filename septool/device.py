"""Choosing and describing the device that a model runs on, and detecting when its memory runs out."""

import ctypes
import logging
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from septool.errors import SeptoolError, UsageError
from septool.printable import count

if TYPE_CHECKING:
    import torch

LOG = logging.getLogger(__name__)
# What a mere RuntimeError says where memory is short: torch on processors, on devices, CUDA's libraries.
NO_MEMORY = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED", "bad_alloc")
# How many kernels oneDNN keeps, each for one length of sound. Its own 1024 are 150 MB after some hundred voices of
# different lengths, and a network has a few dozen. It reads this before its first kernel, if the user does not say.
KERNELS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
AMPERE = (8, 0)  # compute capability; AMD's GPUs that torch runs on count from 9
DRIVERS = ("libcuda.so.1", "nvcuda.dll")  # NVIDIA's, without which torch has no CUDA device


@dataclass(frozen=True)
class _Processor:
    type: str = "cpu"
    index: int | None = None


def processor() -> "torch.device":
    """Return the processor, as far as a device is asked for its type alone, without importing torch."""
    return cast("torch.device", _Processor())


def has_accelerator() -> bool:
    """Return whether torch may have a device other than the processor, without importing it."""
    if sys.platform == "darwin" or Path("/dev/kfd").exists():  # Metal; AMD
        return True
    for name in DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def is_lack_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Return whether an error is that the memory of the processor or of a device was too small."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Turn a lack of memory, of the processor or of a device, into a line about ``what`` it was for."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        raise SeptoolError(f"there is not enough memory {what}") from error


def choose_device(name: str, number: int | None = None) -> "torch.device":
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that is there.

    What processors keep for lengths that they have computed is bounded from then on; see :data:`KERNELS`.

    Args:
        name: of the device.
        number: of several processes that take a CUDA device each, the one that this is; alone, a process has torch's
            current device.

    Raises:
        UsageError: no such device, in words.
    """
    import torch

    os.environ.setdefault(*KERNELS)
    device = _device(name)
    if number is not None and device.type == "cuda" and device.index is None:
        device = torch.device("cuda", number % torch.cuda.device_count())
    LOG.info("%s (%s), torch %s", device, hardware(device), torch.__version__)
    return device


def has_fast_bfloat16(device: "torch.device") -> bool:
    """Return whether a device multiplies matrices faster in bfloat16 than in float32.

    Processors with AMX or AVX-512's bfloat16 (AMD since Zen 4, Intel since Cooper Lake) and NVIDIA's GPUs since Ampere
    do; where it is emulated it takes several times as long.
    """
    import torch

    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        return bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= AMPERE


def has_float16(device: "torch.device", *, training: bool = False) -> bool:
    """Return whether networks compute in float16 on a device; processors have bfloat16, and training takes CUDA."""
    return device.type == "cuda" if training else device.type != "cpu"


def hardware(device: "torch.device") -> str:
    """Return the device in words."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{platform.machine()} GPU (MPS)"
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"


def check_device_name(name: str) -> None:
    """Refuse what is no device on any machine; whether this one has it is left open.

    Raises:
        UsageError: what it can be.
    """
    if not re.fullmatch(r"auto|(cpu|cuda|mps)(:\d+)?", name, re.ASCII):
        raise _unknown(name)


def _unknown(name: str) -> UsageError:
    return UsageError(f"unknown device {name!r}; it can be auto, cpu, cuda, cuda:N or mps")


def _device(name: str) -> "torch.device":
    import torch

    check_device_name(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:  # a number that is too large, say
        raise _unknown(name) from None
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there[device.type]:
        present = count(there[device.type], f"{device.type} device")
        raise UsageError(f"device {name} is not there; this machine has {present}")
    return device
