"""Feeding a model: the level it expects on the way in, the recording's level on the way out."""

from collections.abc import Callable

import torch
from torch import Tensor

from septool.models.base import Extractor, Found, Separator
from septool.signal.levels import model_gain, remove_dc


def feed(model: Separator, mixture: Tensor) -> Tensor:
    """Run a separator at the level it was trained at.

    Args:
        model: the separator.
        mixture: ``[batch, time]`` at any level, around any offset.

    Returns:
        ``[batch, source, time]``. The scale of each source is the model's own: SI-SNR does not train it.
    """
    mixture = remove_dc(mixture)
    gain = model_gain(mixture)
    return model(mixture * gain) / gain[:, None]


def find(model: Extractor, mixture: Tensor, embedding: Tensor) -> Found:
    """Run an extractor on ``mixture [batch, time]`` at the level it was trained at; see :class:`Extractor`."""
    mixture = remove_dc(mixture)
    gain = model_gain(mixture)
    voice, presence = model.find(mixture * gain, embedding)
    return Found(voice / gain, presence)


def fit_scale(mixture: Tensor, estimates: Tensor, ridge: float = 1e-4) -> Tensor:
    """Scale estimates so that together they explain the mixture best, in least squares.

    SI-SNR leaves the scale of each output free; this gives the voices back the levels they have in
    the recording. A small ridge keeps two nearly equal outputs from blowing each other up.

    Args:
        mixture: ``[batch, time]``.
        estimates: ``[batch, source, time]``.
        ridge: part of the estimates' mean energy added to the normal equations' diagonal.
    """
    gram = estimates @ estimates.mT  # [B, C, C]
    sources = gram.shape[-1]
    mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    eye = torch.eye(sources, device=gram.device, dtype=gram.dtype)
    gains = torch.linalg.solve(gram + (ridge * mean + 1e-12) * eye, estimates @ mixture[..., None])
    return estimates * gains


def make_estimator(model: Separator) -> Callable[[Tensor], Tensor]:
    """Return the separation of one stretch by a model."""
    return lambda mixture: fit_scale(remove_dc(mixture), feed(model, mixture))
