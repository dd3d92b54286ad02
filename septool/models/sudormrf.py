"""SuDoRM-RF: successive downsampling and resampling of features (Tzinis, Wang and Smaragdis, MLSP 2020).

"Sudo rm -rf: efficient networks for universal audio source separation". Each block halves the rate of
its features a few times with depthwise convolutions and adds all rates up again: a long memory for
few operations.

Where paper and released code differ, the code is followed: masks come from one convolution along the
axis of the filters, and a softmax shares every filter out among the sources.

The code has 2,596,486 parameters, 1,024 of them in a normalization that it never applies and that does
not exist here. SepFormer's paper prints 2.6 M for it; the 2.7 M in DP-RCNet's are 4 % more.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.codec import CenteredDecoder, CenteredEncoder
from septool.models.layers.masks import FilterConvolution
from septool.models.layers.norms import GlobalLayerNorm, GlobalNorm1d


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """SuDoRM-RF 1.0x."""

    filters: int = 512  # C_E
    window: int = 21  # K_E, samples; the stride is its half, rounded down
    width: int = 128  # C, channels between the blocks
    hidden: int = 512  # C_U, channels in a block
    depth: int = 4  # Q, rates in a block, each half of the one before
    blocks: int = 16  # B


CONFIGS = {"1.0x": Config()}


class UBlock(nn.Module):
    """Algorithm 1: widen, halve the rate step by step, add the rates up again, narrow."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.expand = nn.Sequential(nn.Conv1d(width, hidden, 1), GlobalNorm1d(hidden), nn.PReLU(hidden))
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(hidden, hidden, 5, stride=2 if level else 1, padding=2, groups=hidden),  # K_U = 5
                GlobalNorm1d(hidden),
            )
            for level in range(config.depth)
        )
        self.merge = nn.Sequential(GlobalNorm1d(hidden), nn.PReLU(hidden))
        self.contract = nn.Sequential(nn.Conv1d(hidden, width, 1), GlobalNorm1d(width))
        self.out = nn.Sequential(GlobalNorm1d(width), nn.PReLU(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channel, frame]`` to the same shape; the frames are a multiple of ``2 ** (depth - 1)``."""
        features = self.expand(x)
        rates = [features := level(features) for level in self.levels]
        merged = rates.pop()
        while rates:
            merged = rates.pop() + F.interpolate(merged, scale_factor=2)  # repeats every frame
        return self.out(self.contract(self.merge(merged)) + x)


class SuDoRMRF(Separator[Config]):
    """The whole network: encoder, B blocks, masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        filters, width = config.filters, config.width
        self.encoder = CenteredEncoder(filters, config.window, bias=True, multiple=2 ** (config.depth - 1))
        self.norm = GlobalLayerNorm(filters)
        self.bottleneck = nn.Linear(filters, width)
        self.blocks = nn.Sequential(*(UBlock(config) for _ in range(config.blocks)))
        self.widen = nn.Linear(width, filters)
        self.mask = FilterConvolution(filters, config.sources)
        self.decoder = CenteredDecoder(filters, config.sources, config.window, bias=True)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = torch.relu(self.encoder(mixture))  # [B, I, N]
        x = self.blocks(self.bottleneck(self.norm(encoded)).mT).mT  # [B, I, C]
        masks = torch.softmax(self.mask(self.widen(x)), dim=-2).transpose(1, 2)  # [B, source, I, N]
        return self.decoder(encoded[:, None] * masks, mixture.shape[-1])
