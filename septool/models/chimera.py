"""Chimera++: two heads on one network, deep clustering and masks (Wang, Le Roux and Hershey, ICASSP 2018).

"Alternative objective functions for deep clustering". The embedding head only teaches the network which
bins belong together; the voices come from the mask head, so nothing is clustered in use.

Where the paper leaves a choice:

- Of its mask activations the sigmoid is taken, and of its embeddings tanh with unit length; their
  parameter counts are equal (32.9 M).
- The features are log magnitudes; septool feeds every model at one level, which takes the place of
  mean and variance normalization.
- The MISI iterations of its successor (WA-MISI) are not part of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import MaskingSeparator, SeparatorConfig
from septool.models.layers.recurrent import DeepBiLSTM
from septool.signal.stft import Analysis, log_magnitude


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The network of 11.5 dB SI-SNRi on WSJ0-2mix."""

    fft: int = 256  # samples, 32 ms at 8 kHz
    hop: int = 64  # samples
    hidden: int = 600  # LSTM units a direction
    layers: int = 4
    embedding: int = 20  # D
    dropout: float = 0.3  # between LSTM layers


CONFIGS = {"paper": Config()}


class Chimera(MaskingSeparator[Config]):
    """The whole network: log spectrum, bidirectional LSTM, embeddings and masks side by side."""

    loss = "chimera"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop)
        bins = self.analysis.bins
        self.lstm = DeepBiLSTM(bins, config.hidden, config.layers, config.dropout)
        self.embedding = nn.Linear(2 * config.hidden, bins * config.embedding)
        self.mask = nn.Linear(2 * config.hidden, config.sources * bins)

    def masks(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``, between 0 and 1."""
        return self.estimate_masks(self.encode(spectrum))

    def encode(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` to the input of both heads, ``[batch, frame, 2 hidden]``."""
        return self.lstm(log_magnitude(spectrum))

    def embed(self, state: Tensor) -> Tensor:
        """Embedding head: unit vectors ``[batch, frame, bin, embedding]``."""
        vectors = torch.tanh(self.embedding(state)).unflatten(-1, (-1, self.config.embedding))
        return F.normalize(vectors, dim=-1)

    def estimate_masks(self, state: Tensor) -> Tensor:
        """Mask head: ``[batch, source, frame, bin]``, between 0 and 1."""
        masks = torch.sigmoid(self.mask(state))
        return masks.unflatten(-1, (self.config.sources, -1)).transpose(1, 2)
