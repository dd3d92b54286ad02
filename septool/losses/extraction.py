"""Losses of extractors: ``loss(model, mixture, target, enrolment)``."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from septool.losses.pit import best_permutation
from septool.losses.si_snr import EPS
from septool.metrics.si_snr import si_snr
from septool.models.galr_extractor import GALRExtractor


class SpectralExtractor(Protocol):
    """What the spectral losses ask of a model, such as :class:`septool.models.base.MaskingExtractor`."""

    def spectrum(self, waves: Tensor, /) -> Tensor:
        """Analyze ``[..., time]`` into complex ``[..., frame, bin]``."""
        ...

    @property
    def speaker(self) -> Callable[[Tensor], Tensor]:
        """The network that maps an enrollment ``[batch, time]`` to an embedding ``[batch, embedding]``."""
        ...

    def mask(self, spectrum: Tensor, embedding: Tensor, /) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, embedding]`` to ``[batch, frame, bin]``."""
        ...


def spectral_l2(model: SpectralExtractor, mixture: Tensor, target: Tensor, enrolment: Tensor) -> Tensor:
    """Atss-Net equation 5, as a mean over frames and bins, ``[batch]``."""
    estimate, reference = _magnitudes(model, mixture, target, enrolment)
    return (estimate - reference).square().mean((-2, -1))


def compressed_l2(model: SpectralExtractor, mixture: Tensor, target: Tensor, enrolment: Tensor) -> Tensor:
    """The same of magnitudes to the power of 0.3, ``[batch]`` (VoiceFilter), so that quiet bins count too."""
    estimate, reference = _magnitudes(model, mixture, target, enrolment)
    # The floor (-100 dB) keeps the slope of the root finite.
    compressed = (estimate + 1e-5).pow(0.3) - (reference + 1e-5).pow(0.3)
    return compressed.square().mean((-2, -1))


def _magnitudes(model: SpectralExtractor, mixture: Tensor, target: Tensor, enrolment: Tensor) -> tuple[Tensor, Tensor]:
    mixed = model.spectrum(mixture)
    return model.mask(mixed, model.speaker(enrolment)).float() * mixed.abs(), model.spectrum(target).abs()


def recognition(
    model: GALRExtractor, mixture: Tensor, target: Tensor, enrolment: Tensor, weight: float = 1.0
) -> Tensor:
    """Minus the SI-SNR of voice and rest in their best order, and ``weight`` times how badly they are told apart.

    The second term is the cross-entropy of the log-odds; where the target is silent neither output is the
    voice, and it stands alone.

    Returns:
        ``[batch]``, in dB but for the second term.
    """
    outputs, odds = model.separate_and_match(mixture, model.speaker(enrolment))
    there = target.abs().amax(-1) > 0
    sources = torch.stack((target, mixture - target), dim=1)
    best = best_permutation(partial(si_snr, eps=EPS), estimate=outputs.float(), reference=sources)
    right = F.one_hot(best.order[:, 0], 2) * there[:, None]
    surprise = F.binary_cross_entropy_with_logits(odds.float(), right.float(), reduction="none").sum(-1)
    return weight * surprise - torch.where(there, best.value, 0.0)
