"""Losses of extractors: ``loss(model, mixture, target, enrollment)``."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

COMPRESSION = 0.3  # exponent of magnitudes
FLOOR = 1e-5  # magnitude (-100 dB); keeps the slope of the root finite


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


def spectral_l2(model: SpectralExtractor, mixture: Tensor, target: Tensor, enrollment: Tensor) -> Tensor:
    """Atss-Net equation 5, as a mean over frames and bins, ``[batch]``."""
    estimate, reference = _magnitudes(model, mixture, target, enrollment)
    return (estimate - reference).square().mean((-2, -1))


def compressed_l2(model: SpectralExtractor, mixture: Tensor, target: Tensor, enrollment: Tensor) -> Tensor:
    """The same of magnitudes to the power of 0.3, ``[batch]`` (VoiceFilter), so that quiet bins count too."""
    estimate, reference = _magnitudes(model, mixture, target, enrollment)
    compressed = (estimate + FLOOR).pow(COMPRESSION) - (reference + FLOOR).pow(COMPRESSION)
    return compressed.square().mean((-2, -1))


def _magnitudes(model: SpectralExtractor, mixture: Tensor, target: Tensor, enrollment: Tensor) -> tuple[Tensor, Tensor]:
    mixed = model.spectrum(mixture)
    return model.mask(mixed, model.speaker(enrollment)).float() * mixed.abs(), model.spectrum(target).abs()
