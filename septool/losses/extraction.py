"""Squared error of the extracted voice's magnitudes: ``loss(model, mixture, target, enrolment)``."""

from typing import Protocol

from torch import Tensor


class MaskingExtractor(Protocol):
    """An extractor that masks the spectrum of its analysis."""

    def spectrum(self, waves: Tensor) -> Tensor:
        """Analyse ``[batch, time]`` into complex ``[batch, frame, bin]``."""
        ...

    def mask(self, spectrum: Tensor, enrolment: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, time]`` to ``[batch, frame, bin]``."""
        ...


def spectral_l2(model: MaskingExtractor, mixture: Tensor, target: Tensor, enrolment: Tensor) -> Tensor:
    """Atss-Net equation 5, as a mean over frames and bins, ``[batch]``."""
    estimate, reference = _magnitudes(model, mixture, target, enrolment)
    return (estimate - reference).square().mean((-2, -1))


def compressed_l2(model: MaskingExtractor, mixture: Tensor, target: Tensor, enrolment: Tensor) -> Tensor:
    """The same of magnitudes to the power of 0.3, ``[batch]`` (VoiceFilter), so that quiet bins count too."""
    estimate, reference = _magnitudes(model, mixture, target, enrolment)
    # The floor (-100 dB) keeps the slope of the root finite.
    compressed = (estimate + 1e-5).pow(0.3) - (reference + 1e-5).pow(0.3)
    return compressed.square().mean((-2, -1))


def _magnitudes(model: MaskingExtractor, mixture: Tensor, target: Tensor, enrolment: Tensor) -> tuple[Tensor, Tensor]:
    mixed = model.spectrum(mixture)
    return model.mask(mixed, enrolment).float() * mixed.abs(), model.spectrum(target).abs()
