"""BandGridNet: recurrence along bands, recurrence along frames and attention across frames, on few wide bands.

septool's own. TF-GridNet (Wang et al., IEEE/ACM TASLP 2023) reads every bin of the spectrum and joins neighbouring bins
inside each block. Here the spectrum is split into bands once, each by a linear layer of its own, as in BSRNN (Luo and
Yu, IEEE/ACM TASLP 2023): a block costs a quarter, and the weights know at which frequency they are. The blocks are
TF-GridNet's three modules without its windows. What comes out is BSRNN's estimate of a spectrum: a complex mask and a
residual for every bin and voice.

The magnitudes of the input are compressed, ``|X| ** compression``, and their phase is kept: speech has its energy in a
few bins, and next to them a linear layer would see nothing of the others.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import MappingSeparator, SeparatorConfig
from septool.models.layers.attention import attend
from septool.models.layers.recurrent import BiLSTM
from septool.signal.levels import standard_deviation
from septool.signal.stft import Analysis

FLOOR = 1e-5  # added to magnitudes, whose power would be infinite at zero


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The network of the recipe band-gridnet-small."""

    fft: int = 256  # points, also the window
    hop: int = 128  # samples
    # From below, how many bands of how many bins each: harmonics are apart below 2 kHz at 8 kHz, and blur above it.
    bands: tuple[tuple[int, int], ...] = ((16, 4), (8, 8))
    channels: int = 64
    blocks: int = 6
    hidden: int = 96  # LSTM units a direction
    heads: int = 4
    key: int = 4  # channels of queries and keys a head and band
    compression: float = 0.5
    context: int = 3  # frames that the first layer of a band sees

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(value < 1 for band in self.bands for value in band):
            raise ValueError(f"bands is {[list(band) for band in self.bands]}; counts and sizes are at least 1")
        if sum(self.sizes) != self.fft // 2:
            raise ValueError(
                f"bands have {sum(self.sizes)} bins; {self.fft} points have {self.fft // 2} below half the sample rate"
            )
        if self.channels % self.heads:
            raise ValueError(f"channels is {self.channels}; it has to be a multiple of heads, {self.heads}")
        if self.context % 2 == 0:
            raise ValueError(f"context is {self.context}; it has to be odd, with a frame in the middle")
        if not 0 < self.compression <= 1:
            raise ValueError(f"compression is {self.compression}; it lies above 0 and is at most 1")

    @property
    def sizes(self) -> list[int]:
        """Bins in each band."""
        return [size for count, size in self.bands for _ in range(count)]


CONFIGS = {"small": Config()}


class BandLinear(nn.Module):
    """A linear layer for each band."""

    def __init__(self, bands: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(bands, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(bands, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, band, input]`` to ``[batch, frame, band, output]``."""
        rows = x.permute(2, 0, 1, 3).flatten(1, 2)  # [band, B T, input]
        mapped = torch.baddbmm(self.bias.to(rows.dtype), rows, self.weight.to(rows.dtype))
        return mapped.unflatten(1, x.shape[:2]).permute(1, 2, 0, 3)


class RecurrentModule(nn.Module):
    """A bidirectional LSTM along sequences that are normalized before, added to what they were."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.recurrent = BiLSTM(channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape."""
        return x + self.recurrent(self.norm(x))


class CrossFrameAttention(nn.Module):
    """Attention across frames: every frame, with all its bands one vector a head, attends to all frames."""

    def __init__(self, channels: int, bands: int, heads: int, key: int) -> None:
        super().__init__()
        self.heads, self.sizes = heads, (heads * key, heads * key, channels)
        self.norm = nn.LayerNorm(channels)
        self.place = nn.Parameter(torch.zeros(bands, channels))  # which band it is
        self.qkv = nn.Linear(channels, sum(self.sizes))
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, band, channel]`` to the same shape."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).permute(0, 3, 1, 2, 4).flatten(3)  # [B, head, frame, band * channel]
            for part in self.qkv(self.norm(x) + self.place).split(self.sizes, dim=-1)
        )
        mixed = attend(query, key, value).unflatten(-1, (x.shape[2], -1))  # [B, head, frame, band, channel]
        return x + self.out(mixed.permute(0, 2, 3, 1, 4).flatten(3))


class Block(nn.Module):
    """Along the bands of every frame, along the frames of every band, across all frames."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.bands = RecurrentModule(config.channels, config.hidden)
        self.frames = RecurrentModule(config.channels, config.hidden)
        self.attention = CrossFrameAttention(config.channels, len(config.sizes), config.heads, config.key)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, band, channel]`` to the same shape."""
        return self.attention(self.frames(self.bands(x).transpose(1, 2)).transpose(1, 2))


class BandGridNet(MappingSeparator[Config]):
    """The whole network: bands, blocks, and a mask and a residual for every bin and voice."""

    bin_of_slot: Tensor  # [band * width]
    slot_of_bin: Tensor  # [bin], where in [band * width] each stands

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop)
        sizes, last = config.sizes, config.fft // 2
        bands, self.width = len(sizes), max(sizes)
        # Narrow bands are filled up to the width of the widest with the last bin, which is zero.
        bin_of_slot = [
            sum(sizes[:band]) + i if i < size else last for band, size in enumerate(sizes) for i in range(self.width)
        ]
        slot_of_bin = [band * self.width + i for band, size in enumerate(sizes) for i in range(size)]
        self.register_buffer("bin_of_slot", torch.tensor(bin_of_slot), persistent=False)
        self.register_buffer("slot_of_bin", torch.tensor(slot_of_bin), persistent=False)
        self.split = BandLinear(bands, 2 * self.width * config.context, config.channels)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.blocks)))
        self.norm = nn.LayerNorm(config.channels)
        self.head = BandLinear(bands, config.channels, 2 * config.channels)
        outputs = config.sources * 2 * self.width * 2  # mask and residual, real and imaginary part
        self.mask = BandLinear(bands, 2 * config.channels, 2 * outputs)

    def level(self, mixture: Tensor) -> Tensor:
        """What a mixture is divided by: ``[batch, time] -> [batch, 1]``."""
        return standard_deviation(mixture, correction=0)

    def estimate(self, spectrum: Tensor) -> Tensor:
        """Map complex ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""
        x = self.blocks(self.split(self.features(spectrum)))  # [B, frame, band, channel]
        value, gate = self.mask(torch.tanh(self.head(self.norm(x)))).chunk(2, dim=-1)
        mask, residual = self.bins(value * torch.sigmoid(gate))
        return mask * spectrum[:, None] + residual

    def features(self, spectrum: Tensor) -> Tensor:
        """Map complex ``[batch, frame, bin]`` to what each band is seen as, ``[batch, frame, band, feature]``."""
        gain = (spectrum.abs() + FLOOR) ** (self.config.compression - 1)
        parts = torch.view_as_real(spectrum) * gain[..., None]
        # The last bin, half the sample rate, is left out: it has no neighbour above and no speech.
        parts = F.pad(parts[:, :, :-1], (0, 0, 0, 1))
        bands = parts[:, :, self.bin_of_slot].unflatten(2, (-1, self.width)).flatten(3)  # [B, frame, band, width * 2]
        side = self.config.context // 2
        return F.pad(bands, (0, 0, 0, 0, side, side)).unfold(1, self.config.context, 1).flatten(3)

    def bins(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``[batch, frame, band, output]`` to masks and residuals, complex ``[batch, source, frame, bin]``."""
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))  # a type that has complex numbers
        parts = outputs.unflatten(-1, (self.config.sources, 2, self.width, 2)).permute(0, 3, 4, 1, 2, 5, 6)
        parts = parts.flatten(4, 5)[..., self.slot_of_bin, :]  # [B, source, mask or residual, frame, bin, 2]
        mask, residual = torch.view_as_complex(F.pad(parts, (0, 0, 0, 1)).contiguous()).unbind(2)
        return mask, residual
