"""What every model is: a module that maps recordings to voices, with its configuration beside it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from septool.signal.levels import rms, standard_deviation
from septool.signal.stft import Analysis, istft, stft


@dataclass(frozen=True, kw_only=True)
class SeparatorConfig:
    """What every separator's configuration has."""

    sources: int = 2  # C, voices in the mixture

    def __post_init__(self) -> None:
        if self.sources < 1:
            raise ValueError(f"sources is {self.sources}; a separator has at least one output")
        check_segments(self)


def check_segments(config: object) -> None:
    """Refuse half-overlapping segments of a length that has no half, whatever a paper calls them."""
    for name in ("segment", "chunk"):
        size = getattr(config, name, 2)
        if size < 2 or size % 2:
            raise ValueError(f"{name} is {size} frames; half-overlapping ones need an even number")


ConfigT = TypeVar("ConfigT", bound=SeparatorConfig)


class Model(nn.Module):
    """What can be built by name, trained by a recipe and kept in a checkpoint."""

    role: ClassVar[Literal["separator", "extractor", "speaker"]]
    loss: ClassVar[str]  # the loss of the paper, by its name in septool.losses
    config: Any

    @property
    def sources(self) -> int:
        """Voices that it gives."""
        raise NotImplementedError


class Separator(Model, ABC, Generic[ConfigT]):
    """A network that takes a mixture apart.

    Any number of samples from one up comes back as the same number, and the items of a batch never
    influence each other.
    """

    role = "separator"
    loss = "si-snr"
    config: ConfigT

    @property
    def sources(self) -> int:
        return self.config.sources

    @abstractmethod
    def forward(self, mixture: Tensor) -> Tensor:
        """Map ``mixture [batch, time]`` to ``[batch, source, time]``, in no particular order."""


class Spectral(nn.Module):
    """What works on the spectrum of its analysis."""

    analysis: Analysis

    def spectrum(self, waves: Tensor) -> Tensor:
        """Analyse ``[..., time]`` into complex ``[..., frame, bin]``."""
        return stft(waves, self.analysis)


class MaskingSeparator(Spectral, Separator[ConfigT]):
    """A separator that gives each voice a share of every bin of the mixture, with the mixture's phase."""

    @abstractmethod
    def masks(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        spectrum = self.spectrum(mixture)
        return istft(self.masks(spectrum) * spectrum[:, None], self.analysis, mixture.shape[-1])


class MappingSeparator(Spectral, Separator[ConfigT]):
    """A separator that maps the mixture's spectrum to those of the voices themselves (complex spectral mapping).

    It works at a level of its own: the mixture is divided by its standard deviation, the voices are multiplied by it.
    """

    @abstractmethod
    def estimate(self, spectrum: Tensor) -> Tensor:
        """Map complex ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""

    def level(self, mixture: Tensor) -> Tensor:
        """What a mixture is divided by: ``[batch, time] -> [batch, 1]``."""
        return standard_deviation(mixture)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        level = self.level(mixture)
        spectra = self.estimate(self.spectrum(mixture / level))
        return istft(spectra, self.analysis, mixture.shape[-1]) * level[:, None]


class Extraction(NamedTuple):
    """What an extractor makes of a mixture."""

    voice: Tensor  # [batch, time]
    presence: Tensor  # [batch]: the higher, the surer that the voice is there; on a scale of the model's own


class Extractor(Model, ABC):
    """A network that takes one known voice out of a mixture.

    The same promises as a separator's: same length out as in, batch items independent.
    """

    role = "extractor"
    speaker: nn.Module  # maps [batch, time] to what the model knows a voice by, [batch, embedding]

    @property
    def sources(self) -> int:
        return 1

    @abstractmethod
    def extract(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        """Map ``mixture [batch, time]`` and ``embedding [batch, embedding]`` to ``[batch, time]``."""

    def extract_with_score(self, mixture: Tensor, embedding: Tensor) -> Extraction:
        """Extract the voice and say how sure it is that it is there: here by how much of the energy it has, in dB."""
        voice = self.extract(mixture, embedding)
        share = (rms(voice) + 1e-8) / (rms(mixture) + 1e-8)
        return Extraction(voice, 20 * torch.log10(share[..., 0]))

    def forward(self, mixture: Tensor, enrolment: Tensor) -> Tensor:
        """Map ``mixture [batch, time]`` and ``enrolment [batch, time]`` to ``[batch, time]``."""
        return self.extract(mixture, self.speaker(enrolment))


class MaskingExtractor(Spectral, Extractor):
    """An extractor that gives its voice a share of every bin of the mixture, with the mixture's phase."""

    @abstractmethod
    def mask(self, spectrum: Tensor, embedding: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, embedding]`` to ``[batch, frame, bin]``."""

    def extract(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        """Extract a voice from ``mixture [batch, time]``."""
        spectrum = self.spectrum(mixture)
        return istft(self.mask(spectrum, embedding) * spectrum, self.analysis, mixture.shape[-1])
