"""Batching of windows on GPUs: how many fit into free memory at once.

One window alone tells what memory the model takes for it, and what is free then how many fit. Where that was too many
after all, half of them are tried.
"""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from septool.device import enough_memory, is_lack_of_memory
from septool.inference.level import ArrayEstimator

if TYPE_CHECKING:
    import torch

MOST = 16  # windows at once: what is read ahead stays small, and devices are full by then
SHARE = 0.8  # of the free memory that a batch may take, going by what one window took


class Accelerator(Protocol):
    """A device whose memory can be asked for, in bytes."""

    def watch(self) -> None:
        """Watch what is taken from now on."""
        ...

    def taken(self) -> int:
        """Return the most that was taken at any time since, of it."""
        ...

    def free(self) -> int:
        """Return what can be taken now."""
        ...

    def release(self) -> None:
        """Give up what is kept for later."""
        ...


class Cuda:
    """A GPU of NVIDIA or AMD."""

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
    """A GPU of Apple: what torch keeps after a window is what the window took, for there is no peak to ask for."""

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
    """Return what can be asked of a device; None of the processor, which takes one window at a time no slower."""
    if device.type == "cuda":
        return Cuda(device)
    return Metal() if device.type == "mps" else None


class WindowBatches:
    """An estimator ``[batch, time] -> [batch, voice, time]`` that takes at once what there is memory for.

    Args:
        estimate: of as many windows as memory holds.
        accelerator: the device that computes; without one, windows are taken one by one.
        most: windows that are ever taken at once.
    """

    def __init__(self, estimate: ArrayEstimator, accelerator: Accelerator | None = None, most: int = MOST) -> None:
        self.estimate, self.accelerator, self.most = estimate, accelerator, most
        self.size = 1  # windows that are taken at once next
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
        """Map the first windows of several, as many as fit."""
        while len(windows) > 1:
            try:
                return self.estimate(windows)
            except (MemoryError, RuntimeError) as error:
                if not is_lack_of_memory(error):
                    raise
            # Outside of the handler: the traceback holds what the model had computed so far.
            self.size = len(windows) // 2
            windows = windows[: self.size]
            if self.accelerator is not None:
                self.accelerator.release()
        with enough_memory(f"for {windows.shape[-1]} samples at once; use a smaller --segment"):
            return self.estimate(windows) if self._measured else self._measure(windows)

    def _measure(self, window: np.ndarray) -> np.ndarray:
        """Map one window, and see how many would fit."""
        assert self.accelerator is not None
        self.accelerator.watch()
        voices = self.estimate(window)
        fitting = int(SHARE * self.accelerator.free() / max(self.accelerator.taken(), 1))
        self.size, self._measured = min(max(fitting, 1), self.most), True
        return voices
