"""Sandglasset: a multi-granularity self-attentive network (Lam, Wang, Su and Yu, ICASSP 2021).

"Sandglasset: a light multi-granularity self-attentive network for time-domain speech separation". GALR's
blocks, with self-attention over the segments at a granularity that gets coarser up to the middle of the
network and finer again after it; blocks of the same granularity are joined by residual connections.

There is no code by the authors. Where the description leaves a choice:

- Positions are merged and brought back by depthwise convolutions: full ones would need 3.7 M parameters,
  these give the published 2.3 M.
- Masks come from one 1x1 convolution to all E filters and a ReLU; the published size leaves no room for
  the gated pair of DPRNN and GALR beside it.
- A residual is added to the output of the later block; at its input, the middle one would add a block's
  output to itself. Nothing but these leads around the attention.
- Segmentation and the three norms are those of GALR, by the same authors.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.attention import SelfAttention, SinusoidalPosition
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.masks import SourceSplit
from septool.models.layers.norms import GlobalLayerNorm
from septool.models.layers.recurrent import RecurrentResidual
from septool.signal import frames


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The published system (2.3 M parameters)."""

    filters: int = 256  # E, of the encoder
    features: int = 128  # D, channels of the blocks
    window: int = 4  # M, samples; the stride is M / 2
    segment: int = 256  # K, frames
    contexts: tuple[int, ...] = (1, 4, 16, 16, 4, 1)  # positions merged into one, in each of the N blocks
    hidden: int = 128  # H, LSTM units a direction
    heads: int = 8  # J
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contexts != self.contexts[::-1]:
            raise ValueError(f"contexts is {self.contexts}; it has to be the same backwards")
        for context in self.contexts:
            if context < 1 or self.segment % context:
                raise ValueError(f"segment is {self.segment}; it has to be a multiple of every context, {context}")


CONFIGS = {"paper": Config()}


class Depthwise(nn.Module):
    """Weights of a depthwise convolution whose kernel is as long as its stride.

    The windows do not overlap, so it is a product and a sum: no copy with the channels first.
    """

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        bound = context**-0.5  # as PyTorch starts a convolution
        self.weight = nn.Parameter(torch.empty(context, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))


class Coarsen(Depthwise):
    """Strided convolution: every ``context`` positions become one."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, segment, position, channel]`` to ``[batch, segment, position / context, channel]``."""
        return (x.unflatten(2, (-1, len(self.weight))) * self.weight).sum(3) + self.bias


class Refine(Depthwise):
    """Transposed convolution: every position becomes ``context`` of them."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, segment, position / context, channel]`` to ``[batch, segment, position, channel]``."""
        return (x[..., None, :] * self.weight + self.bias).flatten(2, 3)


class SelfAttentive(nn.Module):
    """Self-attention over the segments, at each of the K / context merged positions."""

    def __init__(self, config: Config, context: int) -> None:
        super().__init__()
        self.coarsen = Coarsen(config.features, context)
        self.coarse_norm = nn.LayerNorm(config.features)
        self.position = SinusoidalPosition(config.features)
        self.attention = SelfAttention(config.features, config.heads)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = GlobalLayerNorm(config.features)
        self.refine = Refine(config.features, context)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, segment, position, feature]`` to the same shape."""
        x = self.coarse_norm(self.coarsen(x)).transpose(1, 2) + self.position(x.shape[1])  # [B, K / context, S, D]
        x = self.norm(x + self.dropout(self.attention(x)))
        return self.refine(x.transpose(1, 2))


class Sandglasset(Separator[Config]):
    """The whole network: encoder, N blocks over segments, masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.filters, config.window)
        self.norm = GlobalLayerNorm(config.filters)
        self.linear = nn.Linear(config.filters, config.features, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(RecurrentResidual(config.features, config.hidden), SelfAttentive(config, context))
            for context in config.contexts
        )
        self.activation = nn.PReLU()
        self.split = SourceSplit(config.features, config.filters, config.sources)
        self.decoder = Decoder(config.filters, config.window)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = torch.relu(self.encoder(mixture))  # [B, L, E]
        count, size = encoded.shape[1], self.config.segment
        padding = frames.galr_padding(count, size)
        segments = self.apply_blocks(frames.segment(self.linear(self.norm(encoded)), size, padding))  # [B, S, K, D]
        masks = torch.relu(self.split(self.activation(segments), count, padding))  # [B, C, L, E]
        return self.decoder(masks * encoded[:, None], mixture.shape[-1])

    def apply_blocks(self, segments: Tensor) -> Tensor:
        """Pass ``[batch, segment, size, feature]`` through the blocks, mirrored ones joined."""
        outputs = [segments]
        for index, block in enumerate(self.blocks):
            mirror = len(self.blocks) - 1 - index
            output = block(outputs[-1])
            outputs.append(output + outputs[mirror + 1] if mirror < index else output)
        return outputs[-1]
