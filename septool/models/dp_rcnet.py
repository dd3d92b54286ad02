"""DP-RCNet: recurrent layers inside ConvNeXt blocks (Yang and Bao, Interspeech 2022).

"Embedding recurrent layers with dual-path strategy in a variant of convolutional network for
speaker-independent speech separation". The depthwise convolution of a ConvNeXt block gives way to a
bidirectional LSTM, first within the chunks, then across them; four stages widen the features.

Where the paper leaves a choice:

- "The feature dimension is doubled by the Bi-LSTM" reads as 2 D_r outputs, "the number of hidden units in
  each Bi-LSTM is set to 128" as 256; only the second gives the 9.2 M parameters of Table 1 (the first 4.8 M).
- The skip connection is drawn in a figure only: one around each of the two sub-blocks, as in ConvNeXt.
- The first normalization is gLN, LayerNorm has ConvNeXt's epsilon, and the rate of stochastic depth
  rises from 0 to ConvNeXt-T's 0.1; the paper names none of them.
- Encoder and decoder have no bias (equations 2 and 4).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.masks import DualPathBlock, SourceSplit
from septool.models.layers.norms import GlobalLayerNorm
from septool.models.layers.recurrent import BiLSTM
from septool.signal import frames


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """Section 3.2 (17.7 dB SI-SDRi on WSJ0-2mix)."""

    filters: int = 256  # N
    features: int = 64  # B, channels that enter the first stage
    window: int = 16  # L, samples; the stride is L / 2
    chunk: int = 96  # I, frames; the hop H is I / 2
    widths: tuple[int, ...] = (16, 32, 64, 128)  # D_r
    blocks: tuple[int, ...] = (3, 3, 9, 3)  # in each stage
    hidden: int = 128  # LSTM units a direction
    scale: float = 1e-6  # LayerScale at the start
    stochastic_depth: float = 0.1  # rate of residual branches dropped in training, at the last block

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"widths has {len(self.widths)} stages and blocks has {len(self.blocks)}")
        if not 0 <= self.stochastic_depth < 1:
            raise ValueError(f"stochastic_depth is {self.stochastic_depth}; it is at least 0 and below 1")


CONFIGS = {"paper": Config()}


class RecurrentPath(nn.Module):
    """Half of the block of section 2.2.2: an LSTM along the position axis in a ConvNeXt block."""

    def __init__(self, config: Config, width: int, drop_rate: float) -> None:
        super().__init__()
        self.drop_rate = drop_rate
        self.lstm = BiLSTM(width, config.hidden)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), config.scale))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape."""
        branch = self.scale * self.contract(F.gelu(self.expand(self.norm(self.lstm(x)))))
        if self.training and self.drop_rate:  # stochastic depth: an item keeps its branch or loses all of it
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop_rate
            branch = branch * kept / (1 - self.drop_rate)
        return x + branch


class DPRCNet(Separator[Config]):
    """The whole network: encoder, four stages of blocks over chunks, sigmoid masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.filters, config.window)
        self.norm = GlobalLayerNorm(config.filters)
        self.linear = nn.Linear(config.filters, config.features)
        steepness = config.stochastic_depth / max(sum(config.blocks) - 1, 1)
        stages: list[nn.Module] = []
        before, block = config.features, 0
        for width, blocks in zip(config.widths, config.blocks, strict=True):
            stages += (nn.LayerNorm(before, eps=1e-6), nn.Linear(before, width))
            for drop_rate in (steepness * (block + i) for i in range(blocks)):  # section 2.2.2
                stages.append(
                    DualPathBlock(RecurrentPath(config, width, drop_rate), RecurrentPath(config, width, drop_rate))
                )
            before, block = width, block + blocks
        self.stages = nn.Sequential(*stages)
        self.split = SourceSplit(before, config.filters, config.sources)
        self.decoder = Decoder(config.filters, config.window)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = self.encoder(mixture)  # eq. 2, F [B, K, N]
        count, size = encoded.shape[1], self.config.chunk
        padding = frames.dprnn_padding(count, size)
        chunks = frames.segment(self.linear(self.norm(encoded)), size, padding)  # U [B, J, I, B]
        chunks = F.gelu(self.stages(chunks))  # [B, J, I, D_4]
        masks = torch.sigmoid(self.split(chunks, count, padding))  # M [B, S, K, N]
        return self.decoder(masks * encoded[:, None], mixture.shape[-1])  # eqs. 3 and 4
