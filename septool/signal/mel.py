"""The mel scale, and Kaldi's triangular filters on it."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:  # for the types alone: mixing needs the scale without torch
    from torch import Tensor

LOWEST_HZ = 20.0  # foot of the lowest triangle, as Kaldi has it


def hz_to_mel(hertz: ArrayLike) -> np.ndarray:
    """Kaldi's mel scale of frequencies ``[...]``: ``1127 ln(1 + f / 700)``."""
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def mel_corners(count: int, highest: float) -> np.ndarray:
    """Mels ``[filter + 2]`` where ``count`` triangles from :data:`LOWEST_HZ` to ``highest`` Hz begin, peak and end."""
    return np.linspace(hz_to_mel(LOWEST_HZ), hz_to_mel(highest), count + 2)


def mel_filterbank(count: int, points: int, rate: int, highest: float | None = None) -> "Tensor":
    """Weights of ``count`` triangles on the mel scale, each of which begins where the one before has its peak.

    Args:
        count: number of filters.
        points: size of the Fourier transform, even.
        rate: samples a second.
        highest: Hz, where the last triangle ends; half the sample rate by default, and above it filters, or parts of
            them, hear nothing.

    Returns:
        ``[bin, filter]`` for a spectrum of ``points // 2 + 1`` bins.
    """
    import torch  # here: only speaker networks need it

    corners = mel_corners(count, highest or rate / 2)
    bins = hz_to_mel(np.arange(points // 2 + 1) * rate / points)[:, None]
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    return torch.tensor(np.minimum(rising, falling).clip(min=0), dtype=torch.float32)
