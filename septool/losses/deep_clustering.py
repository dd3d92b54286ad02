"""Deep clustering: equal embeddings for bins of one voice, different ones for bins of two voices.

Hershey, Chen, Le Roux and Watanabe (2016) compare the affinities of all pairs of N bins,
``|V V' - Y Y'|^2``, for embeddings V and memberships Y. Multiplied out, nothing of size N x N is left.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.losses.mask_approximation import pit_error
from septool.signal.levels import from_db

linalg: Any = torch.linalg  # which has no annotations
AUDIBLE_DB = 40.0  # bins this far below the mixture's loudest do not count


class ClusteringModel(Protocol):
    """What deep clustering asks of a model, such as :class:`septool.models.dpcl.DPCL`."""

    @property
    def enhancement(self) -> nn.Module | None:
        """The network that refines the clusters' masks, if there is one."""
        ...

    def spectrum(self, waves: Tensor, /) -> Tensor:
        """Analyze ``[..., time]`` into complex ``[..., frame, bin]``."""
        ...

    def embed(self, spectrum: Tensor, /) -> Tensor:
        """Map ``[batch, frame, bin]`` to ``[batch, frame, bin, embedding]``."""
        ...

    def cluster(self, spectrum: Tensor, embedding: Tensor, /) -> Tensor:
        """Map these two to masks, ``[batch, source, frame, bin]``."""
        ...


def deep_clustering(model: ClusteringModel, mixture: Tensor, sources: Tensor) -> Tensor:
    """Affinity loss of each item over its audible bins, ``[batch]``.

    An enhancement network adds the squared error of its masked magnitudes (Isik et al., 2016).
    """
    mixed, apart = model.spectrum(mixture), model.spectrum(sources)
    embedding = model.embed(mixed)
    loss = affinity(embedding.flatten(1, 2), dominance(apart), audible(mixed))
    if model.enhancement is None:
        return loss
    return loss + pit_error(model.cluster(mixed, embedding) * mixed[:, None].abs(), apart.abs())


def affinity(embedding: Tensor, member: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of ``(v_i . v_j - y_i . y_j)^2`` over all pairs of bins, ``[batch]``.

    Args:
        embedding: V, ``[batch, bin, embedding]``.
        member: Y, ``[batch, bin, source]``, one where the voice is the loudest.
        weight: ``[batch, bin]``; a pair weighs the product of its bins.
    """
    v, y = _weighted(embedding, member, weight)
    with torch.autocast(v.device.type, enabled=False):  # the difference of large sums
        return _square(v.mT @ v) - 2 * _square(v.mT @ y) + _square(y.mT @ y)


def whitened(embedding: Tensor, member: Tensor, weight: Tensor) -> Tensor:
    """Whitened k-means loss ``D - trace((V'V)^-1 V'Y (Y'Y)^-1 Y'V)``, ``[batch]``.

    Wang, Le Roux and Hershey (2018), "Alternative objective functions for deep clustering". The
    arguments are those of :func:`affinity`. It lies between ``D - C``, every voice at one point, and ``D``.
    """
    v, y = _weighted(embedding, member, weight)
    dimensions = v.shape[-1]
    ridge = 1e-6 * torch.eye(dimensions, device=v.device)  # V'V has a trace of one
    share = y.square().sum(1)[:, None].clamp_min(1e-12)  # the diagonal of Y'Y, [B, 1, C]
    with torch.autocast(v.device.type, enabled=False):  # an inverse of nearly singular matrices
        between = v.mT @ y  # [B, D, C]
        return dimensions - (linalg.solve(v.mT @ v + ridge, between) * between / share).sum((1, 2))


def dominance(sources: Tensor) -> Tensor:
    """Mark the loudest voice of every bin: ``[batch, source, frame, bin] -> [batch, frame * bin, source]``."""
    loudest = sources.abs().argmax(1).flatten(1)
    return F.one_hot(loudest, sources.shape[1]).float()


def audible(mixture: Tensor) -> Tensor:
    """Return 1 for bins within 40 dB of the loudest, else 0: ``[batch, frame, bin] -> [batch, frame * bin]``."""
    magnitude = mixture.abs().flatten(1)
    return (magnitude > from_db(-AUDIBLE_DB) * magnitude.amax(-1, keepdim=True)).float()


def _weighted(embedding: Tensor, member: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply both by the root of the weight, of which an item has one in all (none if it is silent)."""
    root = (weight / weight.sum(-1, keepdim=True).clamp_min(1e-12)).sqrt()[..., None]
    return embedding.float() * root, member * root


def _square(matrix: Tensor) -> Tensor:
    return matrix.square().sum((-2, -1))
