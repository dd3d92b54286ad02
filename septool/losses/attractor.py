"""ADANet's loss: masks against Wiener-like masks, weighted by the mixture (Luo, Chen and Mesgarani, 2018)."""

import torch
from torch import Tensor

from septool.losses.mask_approximation import MaskEstimator, pit_error


def attractor(model: MaskEstimator, mixture: Tensor, sources: Tensor) -> Tensor:
    """Squared error of the masked magnitudes, ``[batch]``: the mean over bins, frames and voices."""
    mixed = model.spectrum(mixture)
    magnitude = mixed[:, None].abs()
    return pit_error(model.masks(mixed) * magnitude, wiener(model.spectrum(sources)) * magnitude)


def wiener(sources: Tensor) -> Tensor:
    """Share of each voice in the energy of a bin; both ``[batch, source, frame, bin]``."""
    energy = sources.abs().square()
    return energy / energy.sum(1, keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)
