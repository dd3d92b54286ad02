"""Tiny-SepFormer: SepFormer with cheaper and shared layers (Luo, Wang et al., Interspeech 2022).

"Tiny-Sepformer: a tiny time-domain transformer network for speech separation". Two things differ from
SepFormer: the channels of a layer are split between attention and a depthwise separable convolution
(the convolution-attention block), and the small system applies the same layer several times.

There is no public code, and the description at hand is the abstract. The layer below is the reading of it
that meets both published sizes, 20.0 M and 5.3 M parameters, if all else is as in SepFormer
(:class:`DualPathSeparator`):

- The input is normalized, then split into halves; each branch adds its input and normalizes again; the
  branches together are added to the layer's input. A feed-forward network follows, normalized before.
- The convolution sees 3 positions and has no activation.
- In the small system every layer is applied 4 times in a row, so that 8 are applied and 2 exist.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from septool.models.layers.attention import SelfAttention, SinusoidalPosition
from septool.models.layers.dual_path import DualPathConfig, DualPathSeparator
from septool.models.layers.masks import DualPathBlock
from septool.models.layers.norms import GlobalLayerNorm


@dataclass(frozen=True, kw_only=True)
class Config(DualPathConfig):
    """The system without shared layers."""

    filters: int = 256
    window: int = 16  # encoder kernel, samples; the stride is half of it
    chunk: int = 250  # frames
    blocks: int = 2
    layers: int = 8  # applied by each of the transformers
    sharing: int = 1  # times that a layer is applied
    heads: int = 8
    kernel: int = 3  # positions that the convolution sees
    feedforward: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers % self.sharing:
            raise ValueError(f"layers is {self.layers}; it has to be a multiple of sharing, {self.sharing}")
        if self.filters % 2:
            raise ValueError(f"filters is {self.filters}; it has to be even, one half for each branch")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; it has to be odd, with a position in the middle")


CONFIGS = {"paper": Config(), "small": Config(sharing=4)}


class SeparableConvolution(nn.Module):
    """A convolution along the positions for each channel apart, then a map from channels to channels."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.pointwise = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape."""
        along = self.depthwise(x.flatten(0, 1).mT).mT  # [B sequence, position, channel]
        return self.pointwise(along).unflatten(0, x.shape[:2])


class ConvolutionAttention(nn.Module):
    """The layer: half of the channels attend, the other half are convolved, and a feed-forward network."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        half = config.filters // 2
        self.norm1 = nn.LayerNorm(config.filters, eps=1e-6)
        self.attention = SelfAttention(half, config.heads)
        self.attention_norm = nn.LayerNorm(half, eps=1e-6)
        self.convolution = SeparableConvolution(half, config.kernel)
        self.convolution_norm = nn.LayerNorm(half, eps=1e-6)
        self.norm2 = nn.LayerNorm(config.filters, eps=1e-6)
        self.expand = nn.Linear(config.filters, config.feedforward)
        self.contract = nn.Linear(config.feedforward, config.filters)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, filter]`` to the same shape."""
        far, near = self.norm1(x).chunk(2, dim=-1)
        far = self.attention_norm(self.attention(far) + far)
        near = self.convolution_norm(self.convolution(near) + near)
        x = torch.cat((far, near), dim=-1) + x
        return self.contract(torch.relu_(self.expand(self.norm2(x)))) + x


class Transformer(nn.Module):
    """SepFormer's: positions, the layers, and a skip around all of them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sharing = config.sharing
        self.position = SinusoidalPosition(config.filters)
        self.layers = nn.ModuleList(ConvolutionAttention(config) for _ in range(config.layers // config.sharing))
        self.layer_norm = nn.LayerNorm(config.filters, eps=1e-6)
        self.global_norm = GlobalLayerNorm(config.filters)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, filter]`` to the same shape."""
        y = x + self.position(x.shape[2])
        for layer in self.layers:
            for _ in range(self.sharing):
                y = layer(y)
        return self.global_norm(self.layer_norm(y)) + x


class TinySepFormer(DualPathSeparator[Config]):
    """The whole network: encoder, blocks over chunks, gated masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__(
            config,
            (DualPathBlock(Transformer(config), Transformer(config)) for _ in range(config.blocks)),
            features=config.filters,
        )
