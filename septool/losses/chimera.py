"""Chimera++: deep clustering and mask inference, weighted (Wang, Le Roux and Hershey, 2018).

The paper's best pair: whitened k-means whose bins weigh their share of the mixture's magnitude, and the
absolute error against the phase-sensitive magnitude cut off below 0 and above the mixture's. How the two
are scaled to each other is not stated; here the error is divided by the mixture's mean magnitude, so that
neither depends on the level or the length of the recording.
"""

from typing import Protocol

import torch
from torch import Tensor

from septool.losses.deep_clustering import dominance, whitened
from septool.losses.mask_approximation import phase_sensitive, pit_error


class TwoHeadedModel(Protocol):
    """What this loss asks of a model, such as :class:`septool.models.chimera.Chimera`."""

    def spectrum(self, waves: Tensor, /) -> Tensor:
        """Analyze ``[..., time]`` into complex ``[..., frame, bin]``."""
        ...

    def encode(self, spectrum: Tensor, /) -> Tensor:
        """Map ``[batch, frame, bin]`` to the input of both heads, ``[batch, frame, feature]``."""
        ...

    def embed(self, state: Tensor, /) -> Tensor:
        """Map ``[batch, frame, feature]`` to ``[batch, frame, bin, embedding]``."""
        ...

    def estimate_masks(self, state: Tensor, /) -> Tensor:
        """Map ``[batch, frame, feature]`` to ``[batch, source, frame, bin]``."""
        ...


def chimera(model: TwoHeadedModel, mixture: Tensor, sources: Tensor, alpha: float = 0.975) -> Tensor:
    """``alpha`` times the clustering loss and ``1 - alpha`` times the mask loss of each item, ``[batch]``."""
    mixed, apart = model.spectrum(mixture), model.spectrum(sources)
    state = model.encode(mixed)
    magnitude = mixed.abs()
    clustering = whitened(model.embed(state).flatten(1, 2), dominance(apart), magnitude.flatten(1))
    target = torch.minimum(phase_sensitive(mixed, apart).clamp_min(0), magnitude[:, None])
    error = pit_error(model.estimate_masks(state) * magnitude[:, None], target, power=1)
    return alpha * clustering + (1 - alpha) * error / magnitude.mean((1, 2)).clamp_min(1e-12)
