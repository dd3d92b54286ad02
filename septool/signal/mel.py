"""Triangular filters on the mel scale."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def mel(hertz: ArrayLike) -> np.ndarray:
    """Kaldi's mel scale: ``1127 ln(1 + f / 700)``."""
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def mel_filters(count: int, points: int, rate: int, low: float = 20.0) -> Tensor:
    """Weights of ``count`` triangles from ``low`` Hz to half the sample rate, straight on the mel scale.

    Each rises from the centre of the one below to its own and falls to the centre of the one above, as in
    Kaldi.

    Args:
        count: number of filters.
        points: size of the Fourier transform.
        rate: samples a second.
        low: foot of the lowest triangle, Hz.

    Returns:
        ``[bin, filter]`` for a spectrum of ``points // 2 + 1`` bins.
    """
    places = np.linspace(mel(low), mel(rate / 2), count + 2)
    left, centre, right = places[:-2], places[1:-1], places[2:]
    bins = mel(np.arange(points // 2 + 1) * rate / points)[:, None]
    triangles = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    return torch.from_numpy(triangles.clip(min=0)).float()
