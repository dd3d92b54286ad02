"""ADANet: deep attractor network with anchors (Luo, Chen and Mesgarani, TASLP 2018).

"Speaker-independent speech separation with deep attractor network". Like deep clustering it embeds every
bin, but the centers (attractors) are found in one step, which training goes through: a few trained
anchors give a first guess of each bin's voice, whose weighted means are the attractors. Of all choices of
C anchors, the one whose attractors are least alike is taken.

Where the paper leaves a choice:

- The embeddings have no activation and any length.
- Quiet bins, which take no part in the attractors, are those 40 dB below the loudest.
- The features are log magnitudes; septool feeds every model at one level, which takes the place of
  mean and variance normalization.
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from septool.models.base import MaskingSeparator, SeparatorConfig
from septool.models.layers.means import weighted_means
from septool.models.layers.recurrent import DeepBiLSTM
from septool.signal.levels import from_db
from septool.signal.stft import Analysis, log_magnitude


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The network of 10.4 dB SI-SNRi on WSJ0-2mix."""

    fft: int = 256  # samples, 32 ms at 8 kHz
    hop: int = 64  # samples
    hidden: int = 300  # LSTM units a direction
    layers: int = 4
    embedding: int = 20  # K
    anchors: int = 6  # N
    audible_db: float = 40.0  # below the loudest bin; quieter ones move no attractor
    dropout: float = 0.0  # between LSTM layers

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anchors < self.sources:
            raise ValueError(f"{self.anchors} anchors cannot stand for {self.sources} sources")


CONFIGS = {"paper": Config()}


class Attractors(nn.Module):
    """From embeddings to one attractor a voice."""

    choices: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.randn(config.anchors, config.embedding) * config.embedding**-0.5)
        choices = torch.tensor(list(combinations(range(config.anchors), config.sources)))
        self.register_buffer("choices", choices, persistent=False)  # [P, C], every set of C anchors

    def forward(self, embedding: Tensor, counted: Tensor) -> Tensor:
        """Map ``[batch, bin, K]`` and what each bin counts, ``[batch, bin]``, to ``[batch, source, K]``."""
        near = embedding @ self.anchors.T  # [B, bin, N]
        shares = torch.softmax(near[..., self.choices], dim=-1) * counted[..., None, None]  # [B, bin, P, C]
        attractors = weighted_means(embedding, shares.flatten(2)).unflatten(1, shares.shape[2:])  # [B, P, C, K]
        alike = attractors @ attractors.mT  # [B, P, C, C]
        same = torch.eye(alike.shape[-1], dtype=torch.bool, device=alike.device)
        worst = alike.masked_fill(same, -torch.inf).amax((-2, -1))  # [B, P], of the two most alike
        return attractors[torch.arange(len(worst), device=worst.device), worst.argmin(-1)]


class ADANet(MaskingSeparator[Config]):
    """The whole network: log spectrum, bidirectional LSTM, embeddings, attractors, masks."""

    loss = "attractor"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop)
        bins = self.analysis.bins
        self.lstm = DeepBiLSTM(bins, config.hidden, config.layers, config.dropout)
        self.linear = nn.Linear(2 * config.hidden, bins * config.embedding)
        self.attractors = Attractors(config)

    def masks(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``, adding up to one."""
        vectors = self.linear(self.lstm(log_magnitude(spectrum)))  # [B, T, F K]
        vectors = vectors.flatten(1).unflatten(-1, (-1, self.config.embedding))  # [B, T F, K]
        magnitude = spectrum.abs().flatten(1)
        counted = magnitude > from_db(-self.config.audible_db) * magnitude.amax(-1, keepdim=True)
        attractors = self.attractors(vectors, counted.to(vectors.dtype))  # [B, C, K]
        masks = torch.softmax(attractors @ vectors.mT, dim=1)  # [B, C, T F]
        return masks.unflatten(-1, spectrum.shape[1:])
