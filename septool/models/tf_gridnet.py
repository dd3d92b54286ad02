"""TF-GridNet: full-band and sub-band recurrence, full-band attention (Wang, Cornell et al., IEEE/ACM TASLP 2023).

"TF-GridNet: integrating full- and sub-band modeling for speech separation". Each block reads the bins of every frame
with one bidirectional LSTM (intra-frame full-band module), the frames of every bin with another one (sub-band temporal
module), and lets whole frames attend to each other (cross-frame self-attention module). The output is the spectrum of
each voice, not a mask.

The authors' code in ESPnet has three versions of it. The defaults are the second one, of the paper's size:

- A block is padded on both sides. The first version, as the paper, pads at the end only: ``padding = "end"``. The
  padding is part of the sequences; it is cut only before the attention.
- Queries, keys, values and the attention's output are normalized over the bins of a frame too, with a gain for each.
  The third version normalizes every bin alone, so that nothing depends on the number of bins: ``norm = "bin"``.
- Where windows do not overlap (kernel and stride are equal) the map behind the LSTM has a bias for every position of a
  window, otherwise one for every channel.

The paper trains with a term that makes the voices add up to the mixture; the authors' recipe does without, as here. Its
initialization draws the gains of the attention at random with all other weights; here they start at 1.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import MappingSeparator, SeparatorConfig
from septool.models.layers.attention import attend
from septool.models.layers.recurrent import LSTM
from septool.models.layers.spectral import SpectrumDecoder, SpectrumEncoder
from septool.signal import frames
from septool.signal.stft import Analysis


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The largest network (14.5 M parameters, 23.5 dB SI-SDRi on WSJ0-2mix)."""

    fft: int = 256  # points, also the window; 32 ms at 8 kHz
    hop: int = 64  # samples
    blocks: int = 6  # B
    channels: int = 64  # D
    hidden: int = 256  # H, LSTM units a direction
    kernel: int = 4  # I, neighbouring bins or frames that an LSTM sees in a step
    stride: int = 1  # J, bins or frames from one step to the next
    heads: int = 4  # L
    key: int = 4  # E, channels of queries and keys a head and bin
    padding: Literal["both", "end"] = "both"
    norm: Literal["frame", "bin"] = "frame"  # what the attention normalizes over, besides channels

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % self.heads:
            raise ValueError(f"channels is {self.channels}; it has to be a multiple of heads, {self.heads}")
        if self.stride > self.kernel:
            raise ValueError(f"stride is {self.stride}; beyond the kernel, {self.kernel}, it would leave bins out")


CONFIGS = {
    "paper": Config(),
    "paper-v1": Config(padding="end"),
    "16ms": Config(fft=128, key=8),
    # The authors' recipes in ESPnet.
    "d48": Config(fft=128, channels=48, hidden=192, key=8),
    "d48-v1": Config(fft=128, channels=48, hidden=192, key=8, padding="end"),
    "d48-32ms": Config(channels=48, hidden=192),
    "d128-i1": Config(fft=128, channels=128, hidden=192, kernel=1, key=8),
    # Of no paper: for a processor, with windows that do not overlap.
    "small-24": Config(hop=128, blocks=3, channels=24, hidden=48, stride=4),
    "small-32": Config(hop=128, blocks=4, channels=32, hidden=64, stride=4),
    "small-32-v3": Config(hop=128, blocks=4, channels=32, hidden=64, stride=4, norm="bin"),
    "small-32-hop64": Config(blocks=4, channels=32, hidden=64, stride=4),
    "small-32-16ms": Config(fft=128, blocks=4, channels=32, hidden=64, stride=4, key=8),
    "small-32-blocks6": Config(hop=128, channels=32, hidden=64, stride=4),
    "small-48": Config(hop=128, blocks=4, channels=48, hidden=96, stride=4),
    "small-48-v3": Config(hop=128, blocks=4, channels=48, hidden=96, stride=4, norm="bin"),
}


class RecurrentModule(nn.Module):
    """Intra-frame full-band and sub-band temporal module: a bidirectional LSTM over windows of a sequence."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.window = config.kernel, config.stride
        width, overlap = config.kernel * config.channels, config.kernel > config.stride
        self.norm = nn.LayerNorm(config.channels)
        self.lstm = LSTM(width, config.hidden, batch_first=True, bidirectional=True)
        # With the sum of windows behind it this is the paper's Deconv1D; on a processor a training step with the
        # product takes half as long as with the transposed convolution.
        self.linear = nn.Linear(2 * config.hidden, width, bias=not overlap)
        self.bias = nn.Parameter(torch.zeros(config.channels)) if overlap else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape, all sequences in one call."""
        windows = frames.unfold(self.norm(x), *self.window)  # [B, S, window, I D]
        both, _ = self.lstm(windows.flatten(0, 1))  # [B S, window, 2 H]
        y = frames.fold(self.linear(both), *self.window).unflatten(0, x.shape[:2])
        return x + (y if self.bias is None else y + self.bias)


class HeadPReLUNorm(nn.Module):
    """PReLU with one slope a head, then normalization of a head's channels and the bins of a frame."""

    def __init__(self, heads: int, bins: int | None, channels: int) -> None:
        """Normalize every bin alone where ``bins`` is None."""
        super().__init__()
        self.axes = 2 if bins else 1
        self.activation = nn.PReLU(heads)
        self.weight = nn.Parameter(torch.ones(heads, 1, bins or 1, channels))
        self.bias = nn.Parameter(torch.zeros(heads, 1, bins or 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, head, frame, bin, channel]`` to the same shape."""
        return torch.addcmul(self.bias, F.layer_norm(self.activation(x), x.shape[-self.axes :]), self.weight)


class CrossFrameAttention(nn.Module):
    """Cross-frame self-attention module: every frame, with all its bins one vector a head, attends to all frames."""

    def __init__(self, config: Config, bins: int) -> None:
        super().__init__()
        self.heads, channels = config.heads, config.channels
        self.sizes = config.heads * config.key, config.heads * config.key, channels
        normed = bins if config.norm == "frame" else None
        self.qkv = nn.Linear(channels, sum(self.sizes))
        self.norms = nn.ModuleList(HeadPReLUNorm(self.heads, normed, size // self.heads) for size in self.sizes)
        self.out = nn.Linear(channels, channels)
        self.activation = nn.PReLU()
        self.norm = nn.LayerNorm([bins, channels] if normed else channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, bin, channel]`` to the same shape."""
        parts = self.qkv(x).split(self.sizes, dim=-1)
        query, key, value = (
            # Copied before PReLU, which is three times slower on a permuted view.
            norm(part.unflatten(-1, (self.heads, -1)).permute(0, 3, 1, 2, 4).contiguous()).flatten(3)  # [B, L, T, F E]
            for norm, part in zip(self.norms, parts, strict=True)
        )
        mixed = attend(query, key, value).unflatten(-1, (x.shape[2], -1))  # [B, L, T, F, D / L]
        return x + self.norm(self.activation(self.out(mixed.permute(0, 2, 3, 1, 4).flatten(3))))


class GridNetBlock(nn.Module):
    """One TF-GridNet block."""

    def __init__(self, config: Config, bins: int) -> None:
        super().__init__()
        self.window, self.both = (config.kernel, config.stride), config.padding == "both"
        self.intra = RecurrentModule(config)
        self.inter = RecurrentModule(config)
        self.attention = CrossFrameAttention(config, bins)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``[batch, frame, bin, channel]`` to the same shape."""
        time, frequency = (frames.window_padding(n, *self.window, both=self.both) for n in z.shape[1:3])
        x = self.intra(F.pad(z, (0, 0, *frequency, *time)))
        x = self.inter(x.transpose(1, 2)).transpose(1, 2)
        x = x[:, time.front : time.front + z.shape[1], frequency.front : frequency.front + z.shape[2]]
        return self.attention(x)


class TFGridNet(MappingSeparator[Config]):
    """The whole network: spectrum, B blocks, the spectrum of each voice."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop, window="hann")
        self.encoder = SpectrumEncoder(config.channels)
        self.blocks = nn.Sequential(*(GridNetBlock(config, self.analysis.bins) for _ in range(config.blocks)))
        self.decoder = SpectrumDecoder(config.channels, config.sources)

    def estimate(self, spectrum: Tensor) -> Tensor:
        """Map complex ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""
        return self.decoder(self.blocks(self.encoder(spectrum)))
