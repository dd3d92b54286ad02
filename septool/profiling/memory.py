"""Peak memory of a network: the allocator's on a GPU, the resident set's on a processor (Linux)."""

import ctypes
from contextlib import suppress
from pathlib import Path

import torch


def _return_free_memory() -> None:
    """Give the system what the C library keeps of freed memory, where it can (glibc)."""
    with suppress(AttributeError, OSError, TypeError):  # another library; Windows
        ctypes.CDLL(None).malloc_trim(0)


class PeakMemory:
    """The most memory that was in use since the last reset, over what was in use when this was made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._status = Path("/proc/self/status")
        if device.type == "cpu":
            _return_free_memory()
        self._before = self._read("VmRSS", "allocated_bytes.all.current")

    def reset(self) -> None:
        """Forget the peak so far."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self.device.type == "cpu":
            _return_free_memory()  # which an earlier, larger peak has left to this process
            with suppress(OSError):  # without it, the peak since the start, which grows with the length anyway
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> int | None:
        """Return bytes, or None where the system does not say."""
        peak = self._read("VmHWM", "allocated_bytes.all.peak")
        return None if peak is None or self._before is None else peak - self._before

    def _read(self, resident: str, allocated: str) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.memory_stats(self.device)[allocated]
        if self.device.type == "cpu" and self._status.exists():
            lines = self._status.read_text().splitlines()
            found = [line for line in lines if line.startswith(resident + ":")]  # sandboxes leave some out
            return int(found[0].split()[1]) * 1024 if found else None  # "VmHWM:   1234 kB"
        return None
