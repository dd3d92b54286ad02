"""What every model is: a module that maps recordings to sources, with its configuration beside it."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from septool.signal.levels import SILENCE, rms, standard_deviation
from septool.signal.stft import Analysis, istft, stft


@dataclass(frozen=True, kw_only=True)
class SeparatorConfig:
    """What every separator's configuration has."""

    sources: int = 2  # C, talkers in the mixture

    def __post_init__(self) -> None:
        if self.sources < 1:
            raise ValueError(f"sources is {self.sources}; a separator has at least one output")
        check_segments(self)


def at_least(least: int, default: int) -> int:
    """Return a configuration field whose whole number may be as small as ``least``; of others it is at least 1."""
    return field(default=default, metadata={"least": least})


def check_segments(config: object) -> None:
    """Refuse half-overlapping segments of a length that has no half, whatever a paper calls them."""
    for name in ("segment", "chunk"):
        size = getattr(config, name, 2)
        if size < 2 or size % 2:
            raise ValueError(f"{name} is {size} frames; half-overlapping ones need an even number")


ConfigT = TypeVar("ConfigT")
SeparatorConfigT = TypeVar("SeparatorConfigT", bound=SeparatorConfig)


class Model(nn.Module, Generic[ConfigT]):
    """What can be built by name, trained by a recipe and kept in a checkpoint."""

    role: ClassVar[Literal["separator", "extractor", "speaker"]]
    loss: ClassVar[str]  # the loss of the paper, by its name in septool.losses
    config: ConfigT

    @property
    def sources(self) -> int:
        """Number of sources in the output."""
        raise NotImplementedError


class Separator(Model[SeparatorConfigT], ABC):
    """A network that takes a mixture apart.

    Any number of samples from one up comes back as the same number, and the items of a batch never
    influence each other.
    """

    role = "separator"
    loss = "si-snr"
    paper_rate: ClassVar[int] = 8000  # Hz of the paper's recordings; the network works at any

    @property
    def sources(self) -> int:
        return self.config.sources

    @abstractmethod
    def forward(self, mixture: Tensor) -> Tensor:
        """Map ``mixture [batch, time]`` to ``[batch, source, time]``, in no particular order."""


class Spectral(nn.Module):
    """A model that works on spectra."""

    analysis: Analysis

    def spectrum(self, waves: Tensor) -> Tensor:
        """Analyze ``[..., time]`` into complex ``[..., frame, bin]``."""
        return stft(waves, self.analysis)


class MaskingSeparator(Spectral, Separator[SeparatorConfigT]):
    """A separator that masks the spectrum of the mixture for each source, and keeps its phase."""

    @abstractmethod
    def masks(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        spectrum = self.spectrum(mixture)
        return istft(self.masks(spectrum) * spectrum[:, None], self.analysis, mixture.shape[-1])


class MappingSeparator(Spectral, Separator[SeparatorConfigT]):
    """A separator that maps the mixture's spectrum to those of the sources (complex spectral mapping).

    It works at a level of its own: the mixture is divided by its standard deviation, the estimates multiplied by it.
    """

    @abstractmethod
    def estimate(self, spectrum: Tensor) -> Tensor:
        """Map complex ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""

    def level(self, mixture: Tensor) -> Tensor:
        """Return what ``mixture [batch, time]`` is divided by, ``[batch, 1]``."""
        return standard_deviation(mixture)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        level = self.level(mixture)
        spectra = self.estimate(self.spectrum(mixture / level))
        return istft(spectra, self.analysis, mixture.shape[-1]) * level[:, None]


NO_HALTING = "none"


class AdaptiveCompute(ABC):
    """A model whose tokens halt after steps of their own: the recording decides how much is computed.

    The field ``halting`` of its configuration says how. Fresh weights halt tokens at random; by :data:`NO_HALTING`
    every token takes every step.
    """

    halting_modes: ClassVar[tuple[str, ...]]  # values of the field
    config: Any

    @property
    def halts(self) -> bool:
        """Whether tokens may halt."""
        return self.config.halting != NO_HALTING

    @abstractmethod
    def active_fraction_per_step(self, mixture: Tensor) -> list[float]:
        """Return the fraction of tokens of ``mixture [batch, time]`` that still run at each step taken."""

    @abstractmethod
    def record_expected_steps(self) -> AbstractContextManager[list[Tensor]]:
        """Collect how many steps each token takes in the context, ``[batch, token]``, with a gradient."""


class SpeakerEncoder(Model[ConfigT]):
    """A network that tells voices apart: recordings of one voice have embeddings that are alike by cosine."""

    role = "speaker"
    rate: int  # Hz of what it hears
    embedding: nn.Module  # maps recordings [batch, time] to [batch, embedding]

    @property
    def sources(self) -> int:
        return 0

    def listen_at(self, rate: int) -> None:
        """Let ``embedding`` hear recordings at another rate, in Hz, which it brings to its own."""
        if rate != self.rate:
            # Not a module around it, whose weights would go by other names and be taken for another network's.
            self.embedding.register_forward_pre_hook(partial(_resample_input, rate, self.rate), prepend=True)
            self.rate = rate


def _resample_input(rate: int, model_rate: int, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Bring the recordings ``[batch, time]`` that a network is called with from ``rate`` to its own, both in Hz."""
    import torchaudio  # which few models need

    return (torchaudio.functional.resample(inputs[0], rate, model_rate),)


class Extraction(NamedTuple):
    """The target speaker's estimate, and a score of presence; of several, ``[batch, voice, time]`` and so on."""

    voice: Tensor  # [batch, time]
    presence: Tensor  # [batch]: the higher, the surer that the target speaks; on a scale of the model's own


class Extractor(Model[ConfigT], ABC):
    """A network that extracts one target speaker from a mixture.

    The same promises as a separator's: same length out as in, batch items independent.
    """

    role = "extractor"
    speaker: nn.Module  # maps an enrollment [batch, time] to an embedding [batch, embedding]

    @property
    def sources(self) -> int:
        return 1

    @abstractmethod
    def extract(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        """Map ``mixture [batch, time]`` and ``embedding [batch, embedding]`` to ``[batch, time]``."""

    def extract_with_score(self, mixture: Tensor, embedding: Tensor) -> Extraction:
        """Extract from ``mixture [batch, time]`` by ``embedding [batch, embedding]``, and score the presence.

        Here the score is the level of the estimate, in dB against the mixture; nobody is in digital silence.
        """
        voice = self.extract(mixture, embedding)
        ratio = (rms(voice) + 1e-8) / (rms(mixture) + SILENCE)
        return Extraction(voice, 20 * torch.log10(ratio[..., 0]))

    def extract_each(self, mixture: Tensor, embeddings: Tensor) -> Extraction:
        """Extract every voice of ``embeddings [voice, embedding]`` from every ``mixture [batch, time]``.

        Returns:
            ``[batch, voice, time]``, and the presence of each, ``[batch, voice]``.
        """
        count = len(embeddings)
        extraction = self.extract_with_score(mixture.repeat_interleave(count, 0), embeddings.repeat(len(mixture), 1))
        return Extraction(*(part.unflatten(0, (-1, count)) for part in extraction))

    def forward(self, mixture: Tensor, enrollment: Tensor) -> Tensor:
        """Map ``mixture [batch, time]`` and ``enrollment [batch, time]`` to ``[batch, time]``."""
        return self.extract(mixture, self.speaker(enrollment))


class MaskingExtractor(Spectral, Extractor[ConfigT]):
    """An extractor that masks the spectrum of the mixture, and keeps its phase."""

    @abstractmethod
    def mask(self, spectrum: Tensor, embedding: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, embedding]`` to ``[batch, frame, bin]``."""

    def extract(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        """Extract from ``mixture [batch, time]`` by ``embedding [batch, embedding]``; returns ``[batch, time]``."""
        spectrum = self.spectrum(mixture)
        return istft(self.mask(spectrum, embedding) * spectrum, self.analysis, mixture.shape[-1])
