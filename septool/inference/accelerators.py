"""Batching of windows on GPUs: how many fit into free memory at once.

The memory that the first window takes and the memory that is free determine the batch size. A batch that runs out of
memory is halved and tried again.
"""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from septool.device import enough_memory, is_lack_of_memory
from septool.inference.level import ArrayEstimator

if TYPE_CHECKING:
    import torch

MOST = 16  # maximum batch size in windows: larger ones do not raise the utilization, and read further ahead
SHARE = 0.8  # fraction of the free memory that a batch may take, by the estimate from one window


class Accelerator(Protocol):
    """A device whose memory can be asked for, in bytes."""

    def watch(self) -> None:
        """Start measuring the peak of allocated memory."""
        ...

    def taken(self) -> int:
        """Return the peak of allocated memory since :meth:`watch`."""
        ...

    def free(self) -> int:
        """Return the free memory."""
        ...

    def release(self) -> None:
        """Release cached memory."""
        ...


class Cuda:
    """An NVIDIA or AMD GPU."""

    def __init__(self, device: "torch.device") -> None:
        self.device, self.before = device, 0

    def watch(self) -> None:
        import torch

        torch.cuda.reset_peak_memory_stats(self.device)
        self.before = torch.cuda.memory_allocated(self.device)

    def taken(self) -> int:
        import torch

        return torch.cuda.max_memory_allocated(self.device) - self.before

    def free(self) -> int:
        import torch

        kept = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + kept

    def release(self) -> None:
        import torch

        torch.cuda.empty_cache()


class Metal:
    """An Apple GPU. It reports no peak, so the memory that torch holds after a window stands for it."""

    def __init__(self) -> None:
        self.before = 0

    def watch(self) -> None:
        import torch

        torch.mps.empty_cache()
        self.before = torch.mps.driver_allocated_memory()

    def taken(self) -> int:
        import torch

        return torch.mps.driver_allocated_memory() - self.before

    def free(self) -> int:
        import torch

        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()

    def release(self) -> None:
        import torch

        torch.mps.empty_cache()


def accelerator_of(device: "torch.device") -> Accelerator | None:
    """Return the accelerator of a device; None for the CPU, where batching windows is no faster."""
    if device.type == "cuda":
        return Cuda(device)
    return Metal() if device.type == "mps" else None


class WindowBatches:
    """An estimator ``[batch, time] -> [batch, voice, time]`` that adapts the batch size to the free memory.

    Args:
        estimate: maps a batch of windows.
        accelerator: the device that computes; without one, the batch size is 1.
    """

    def __init__(self, estimate: ArrayEstimator, accelerator: Accelerator | None = None) -> None:
        self.estimate, self.accelerator = estimate, accelerator
        self.size = 1  # size of the next batch, in windows
        self._measured = accelerator is None

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Map windows of one length, ``[batch, time]``, to ``[batch, voice, time]``.

        Raises:
            SeptoolError: there is not enough memory for one.
        """
        parts: list[np.ndarray] = []
        done = 0
        while done < len(windows):
            parts.append(self._together(windows[done : done + self.size]))
            done += len(parts[-1])
        return np.concatenate(parts)

    def _together(self, windows: np.ndarray) -> np.ndarray:
        """Map as many of the first windows as fit into memory."""
        while len(windows) > 1:
            try:
                return self.estimate(windows)
            except (MemoryError, RuntimeError) as error:
                if not is_lack_of_memory(error):
                    raise
            # Outside of the handler, since the traceback keeps the activations alive.
            self.size = len(windows) // 2
            windows = windows[: self.size]
            if self.accelerator is not None:
                self.accelerator.release()
        with enough_memory(f"for {windows.shape[-1]} samples at once; use a smaller --segment"):
            return self.estimate(windows) if self._measured else self._measure(windows)

    def _measure(self, window: np.ndarray) -> np.ndarray:
        """Map one window, and derive the batch size from its memory."""
        assert self.accelerator is not None
        self.accelerator.watch()
        voices = self.estimate(window)
        fitting = int(SHARE * self.accelerator.free() / max(self.accelerator.taken(), 1))
        self.size, self._measured = min(max(fitting, 1), MOST), True
        return voices
