"""uPIT-BLSTM-ST: utterance-level PIT, two networks in a row (Kolbæk, Yu, Tan and Jensen, TASLP 2017).

"Multitalker speech separation with utterance-level permutation invariant training of deep recurrent
neural networks". One order of the voices is chosen for a whole recording, so a recurrent network learns to
keep them apart by itself; a second network of the same size works on what the first one left.

Where the paper leaves a choice:

- The masks of the two networks are averaged. The size that later papers print (92.7 M) only has room for
  one spectrum at the second network's input, so it reads the sum of the first one's estimates; with
  ``second="each"`` it reads all of them (93.7 M for two voices).
- The networks were trained one after the other. Here both learn at once, from the error of the mean mask.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from septool.models.base import MaskingSeparator, SeparatorConfig
from septool.models.layers.recurrent import DeepBiLSTM
from septool.signal.stft import Analysis


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The two-stage network with ReLU masks (10.0 dB SDRi on WSJ0-2mix)."""

    fft: int = 256  # samples, 32 ms at 8 kHz
    hop: int = 128  # samples
    hidden: int = 896  # LSTM units a direction
    layers: int = 3  # a stage
    second: Literal["sum", "each"] = "sum"  # input of the second stage: the sum of the first one's estimates, or each
    dropout: float = 0.5  # between LSTM layers


CONFIGS = {"paper": Config(), "each": Config(second="each")}


class Stage(nn.Module):
    """A network from spectra to non-negative masks."""

    def __init__(self, spectra: int, bins: int, config: Config) -> None:
        super().__init__()
        self.sources = config.sources
        self.lstm = DeepBiLSTM(spectra * bins, config.hidden, config.layers, config.dropout)
        self.linear = nn.Linear(2 * config.hidden, config.sources * bins)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, spectrum * bin]`` to ``[batch, source, frame, bin]``."""
        masks = torch.relu(self.linear(self.lstm(x)))
        return masks.unflatten(-1, (self.sources, -1)).transpose(1, 2)


class UPIT(MaskingSeparator[Config]):
    """The whole network: magnitudes, two stages, the mean of their masks."""

    loss = "phase-sensitive"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop)
        bins = self.analysis.bins
        self.first = Stage(1, bins, config)
        self.second = Stage(config.sources if config.second == "each" else 1, bins, config)

    def masks(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``, not negative."""
        magnitude = spectrum.abs()
        first = self.first(magnitude)
        estimates = first * magnitude[:, None]  # [B, C, T, F]
        if self.config.second == "each":
            second = self.second(estimates.transpose(1, 2).flatten(2))  # [B, T, C F]
        else:
            second = self.second(estimates.sum(1))
        return (first + second) / 2
