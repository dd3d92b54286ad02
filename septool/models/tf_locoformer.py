"""TF-Locoformer: transformers along frequency and time with local convolutions (Saijo, Wichern et al., IWAENC 2024).

"TF-Locoformer: Transformer with local modeling by convolution for speech separation and enhancement". Each block reads
the bins of every frame, then the frames of every bin, with a Macaron transformer: self-attention between two
feed-forward networks, whose maps are convolutions (ConvSwiGLU). Nothing recurs. The output is the spectrum of each
voice, not a mask.

Where the paper and its authors' code differ, the code is followed, since the published numbers were made with it: the
feed-forward networks are added whole, without the paper's factor of one half.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import MappingSeparator, SeparatorConfig
from septool.models.layers.attention import attend
from septool.models.layers.spectral import SpectrumDecoder, SpectrumEncoder
from septool.signal import frames
from septool.signal.stft import Analysis

EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The medium network for WSJ0-2mix and Libri2Mix (15.0 M parameters)."""

    fft: int = 128  # points, also the window; 16 ms at 8 kHz
    hop: int = 64  # samples
    blocks: int = 6  # B
    channels: int = 128  # D
    hidden: tuple[int, int] = (384, 384)  # C, of the feed-forward networks before and behind the attention
    kernel: int = 4  # K, bins or frames that their convolutions see
    stride: int = 1  # S
    heads: int = 4  # H
    attention: int = 128  # channels of all heads together
    groups: int = 4  # G, of the normalization

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % self.groups:
            raise ValueError(f"channels is {self.channels}; it has to be a multiple of groups, {self.groups}")
        if self.attention % (2 * self.heads):
            raise ValueError(f"attention is {self.attention}; a head of {self.heads} has to have an even share of it")
        if self.stride > self.kernel:
            raise ValueError(f"stride is {self.stride}; beyond the kernel, {self.kernel}, it would leave bins out")


# "whamr" are those for 32 ms windows; of the small network only that one is public, "s" follows the medium ones.
CONFIGS = {
    "m": Config(),
    "l": Config(blocks=9),
    "s": Config(blocks=4, channels=96, hidden=(256, 256)),
    "m-whamr": Config(fft=256, hidden=(192, 192), kernel=8),
    "s-whamr": Config(fft=256, blocks=4, channels=96, hidden=(128, 128), kernel=8),
    "s-whamr-a96": Config(fft=256, blocks=4, channels=96, hidden=(128, 128), kernel=8, attention=96),
    # Of no paper: for a processor.
    "tiny": Config(fft=256, hop=128, blocks=3, channels=32, hidden=(48, 48), attention=32),
    "tiny-stride2": Config(fft=256, hop=128, blocks=3, channels=32, hidden=(48, 48), attention=32, stride=2),
}


class RMSGroupNorm(nn.Module):
    """Each group of a bin's channels is divided by its root mean square; one gain a channel, no bias."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``[..., channel]``."""
        grouped = x.unflatten(-1, (self.groups, -1))
        # The norm, unlike the root of a mean, has a gradient at zero.
        rms = torch.linalg.vector_norm(grouped, dim=-1, keepdim=True) * grouped.shape[-1] ** -0.5
        return (grouped / (rms + EPS)).flatten(-2) * self.weight


class ConvSwiGLU(nn.Module):
    """The feed-forward network: a convolution to two halves, one gates the other, a transposed convolution back.

    Both are written as products of windows, which on a processor take half the time of convolutions in training.
    """

    def __init__(self, config: Config, hidden: int) -> None:
        super().__init__()
        self.window = config.kernel, config.stride
        self.expand = nn.Linear(config.kernel * config.channels, 2 * hidden)  # Conv1D
        self.contract = nn.Linear(hidden, config.kernel * config.channels, bias=False)  # Deconv1D
        self.bias = nn.Parameter(torch.zeros(config.channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape."""
        count = x.shape[2]
        padding = frames.window_padding(count, *self.window)
        value, gate = self.expand(frames.unfold(F.pad(x, (0, 0, *padding)), *self.window)).chunk(2, dim=-1)
        y = frames.fold(self.contract(value * F.silu(gate)), *self.window)
        return y[:, :, padding.front : padding.front + count] + self.bias


def rotate(x: Tensor) -> Tensor:
    """Rotary positions (Su et al., 2021) of ``[..., position, channel]``: neighbouring channels turn as pairs."""
    position = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)
    rate = 10000 ** -(torch.arange(0, x.shape[-1], 2, device=x.device, dtype=torch.float32) / x.shape[-1])
    angle = position[:, None] * rate
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)  # [position, pair]
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cosine - b * sine, b * cosine + a * sine), dim=-1).flatten(-2)


class RotaryAttention(nn.Module):
    """Multi-head self-attention of every sequence to itself, with rotary positions and without biases."""

    def __init__(self, channels: int, attention: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * attention, bias=False)
        self.out = nn.Linear(attention, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape."""
        qkv = self.qkv(x).flatten(0, 1).unflatten(-1, (3, self.heads, -1))  # [B sequence, position, 3, H, A / H]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = attend(rotate(query), rotate(key), value)  # [B sequence, H, position, A / H]
        return self.out(mixed.transpose(1, 2).flatten(2)).unflatten(0, x.shape[:2])


class Transformer(nn.Module):
    """Macaron: self-attention between two feed-forward networks, each normalized before and added."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        before, behind = config.hidden
        self.norm1, self.norm2, self.norm3 = (RMSGroupNorm(config.groups, config.channels) for _ in range(3))
        self.before = ConvSwiGLU(config, before)
        self.attention = RotaryAttention(config.channels, config.attention, config.heads)
        self.behind = ConvSwiGLU(config, behind)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape."""
        x = x + self.before(self.norm1(x))
        x = x + self.attention(self.norm2(x))
        return x + self.behind(self.norm3(x))


class Block(nn.Module):
    """Along the bins of every frame, then along the frames of every bin."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.frequency = Transformer(config)
        self.time = Transformer(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, bin, channel]`` to the same shape."""
        return self.time(self.frequency(x).transpose(1, 2)).transpose(1, 2)


class TFLocoformer(MappingSeparator[Config]):
    """The whole network: spectrum, B blocks, the spectrum of each voice."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop, window="hann")
        self.encoder = SpectrumEncoder(config.channels)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.blocks)))
        self.decoder = SpectrumDecoder(config.channels, config.sources)

    def estimate(self, spectrum: Tensor) -> Tensor:
        """Map complex ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""
        return self.decoder(self.blocks(self.encoder(spectrum)))
