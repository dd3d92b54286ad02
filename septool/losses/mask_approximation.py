"""Squared or absolute error of masked magnitudes under utterance-level permutation-invariant training.

Kolbæk, Yu, Tan and Jensen (2017), "Multitalker speech separation with utterance-level permutation
invariant training of deep recurrent neural networks". The target is the magnitude of each voice, or what
a real mask can do best on the mixture's phase: the magnitude times the cosine of the phase difference.
"""

from typing import Protocol

import torch
from torch import Tensor

from septool.losses.pit import best_permutation


class MaskEstimator(Protocol):
    """What these losses ask of a model, such as :class:`septool.models.base.MaskingSeparator`."""

    def spectrum(self, waves: Tensor, /) -> Tensor:
        """Analyze ``[..., time]`` into complex ``[..., frame, bin]``."""
        ...

    def masks(self, spectrum: Tensor, /) -> Tensor:
        """Map ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""
        ...


def magnitude_approximation(model: MaskEstimator, mixture: Tensor, sources: Tensor) -> Tensor:
    """Squared error against the voices' magnitudes, ``[batch]``: the mean over bins, frames and voices."""
    mixed = model.spectrum(mixture)
    return pit_error(model.masks(mixed) * mixed[:, None].abs(), model.spectrum(sources).abs())


def phase_sensitive_approximation(model: MaskEstimator, mixture: Tensor, sources: Tensor) -> Tensor:
    """Squared error against the phase-sensitive magnitudes, ``[batch]``: the mean over bins, frames and voices."""
    mixed = model.spectrum(mixture)
    return pit_error(model.masks(mixed) * mixed[:, None].abs(), phase_sensitive(mixed, model.spectrum(sources)))


def phase_sensitive(mixture: Tensor, sources: Tensor) -> Tensor:
    """Return ``|s| cos(angle(s) - angle(x))``, negative where a voice and the mixture are opposed.

    Args:
        mixture: complex spectrum x, ``[batch, frame, bin]``.
        sources: complex spectra s, ``[batch, source, frame, bin]``.
    """
    mixture = mixture[:, None]
    # The tiniest normal number stands for a silent mixture, whose product with any voice is zero.
    return (mixture.conj() * sources).real / mixture.abs().clamp_min(torch.finfo(mixture.abs().dtype).tiny)


def pit_error(estimate: Tensor, reference: Tensor, power: int = 2) -> Tensor:
    """Mean ``|estimate - reference| ** power`` of each item in the best order, ``[batch]``.

    Args:
        estimate: ``[batch, source, frame, bin]``.
        reference: of the same shape.
        power: 2 for the squared error, 1 for the absolute error.
    """

    def score(*, estimate: Tensor, reference: Tensor) -> Tensor:
        return -(estimate - reference).abs().pow(power).mean((-2, -1))

    return -best_permutation(score, estimate=estimate.float(), reference=reference.float()).value
