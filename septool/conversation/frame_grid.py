"""The frame grid of a conversation: at which samples of a recording the frames of its speech activity are."""

from dataclasses import dataclass

import numpy as np

FRAME_S = 0.032  # window length of the spectra; the hop is half of it


@dataclass(frozen=True)
class FrameGrid:
    """Frames of a recording, each centered on a multiple of :attr:`hop`."""

    rate: int  # Hz

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return round(FRAME_S * self.rate) // 2

    @property
    def per_second(self) -> float:
        """The frame rate, in Hz."""
        return self.rate / self.hop

    def frames(self, seconds: float) -> float:
        """Return how many frames a duration has, not rounded."""
        return seconds * self.per_second

    def round_to_frames(self, seconds: float) -> int:
        """Return a duration in samples, rounded to a whole number of frames."""
        return round(self.frames(seconds)) * self.hop

    def to_samples(self, mask: np.ndarray, samples: int, factor: int = 1) -> np.ndarray:
        """Expand a mask ``[frame]`` to ``[time]``.

        Args:
            mask: a value for each frame, ``[frame]``.
            samples: length of the result.
            factor: rate of the samples, as a multiple of the rate of the grid.
        """
        hop = factor * self.hop
        return mask[np.minimum((np.arange(samples) + hop // 2) // hop, len(mask) - 1)]
