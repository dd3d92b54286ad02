"""A-FRCNN: asynchronous fully recurrent convolutional network (Hu, Li et al., NeurIPS 2021).

"Speech separation using an asynchronous fully recurrent convolutional neural network". One block is
applied over and over. It goes up through stages of half the rate each, fuses every stage with its two
neighbors, and joins all stages at the lowest.

As in the released code, the encoder has no nonlinearity, and in the decoder every source has a basis
for the filters of all sources, not its own alone. The printed counts (6.1 M and 1.7 M) are met.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.codec import CenteredDecoder, CenteredEncoder
from septool.models.layers.norms import GlobalLayerNorm, GlobalNorm1d


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """A-FRCNN-16 (18.3 dB SI-SNRi on WSJ0-2mix)."""

    filters: int = 512
    window: int = 21  # samples; the stride is its half, rounded down
    width: int = 512  # channels between the iterations
    hidden: int = 512  # channels of every stage
    stages: int = 5  # S, each at half the rate of the one below
    iterations: int = 16  # times that the block is applied
    fusion: Literal["concat", "sum"] = "concat"  # how a stage is fused with its neighbors


CONFIGS = {
    "16": Config(),
    "16-sum": Config(width=128, fusion="sum"),
}


class Sum(nn.Module):
    """Stages of several rates added up, their frames repeated until all are as long as the longest."""

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Map tensors ``[batch, channel, frame]``, each with its number of frames, to one with the most."""
        frames = max(x.shape[-1] for x in stages)
        return reduce(torch.add, (F.interpolate(x, size=frames) if x.shape[-1] < frames else x for x in stages))


class Concat(Sum):
    """The same stages concatenated along their channels, and a 1x1 convolution of these.

    It commutes with the repeating of frames, so every stage is convolved at its own rate and then added.
    """

    def __init__(self, stages: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(stages * channels, channels, 1)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Map tensors ``[batch, channel, frame]``, each with its number of frames, to one with the most."""
        weights = self.conv.weight.chunk(len(stages), dim=1)
        biases = [self.conv.bias, *(None for _ in stages[1:])]
        return super().forward([F.conv1d(*part) for part in zip(stages, weights, biases, strict=True)])


def depthwise_conv(channels: int, stride: int) -> nn.Module:
    """Convolve every channel by itself, five taps, and normalize."""
    return nn.Sequential(
        nn.Conv1d(channels, channels, 5, stride=stride, padding=2, groups=channels), GlobalNorm1d(channels)
    )


class Block(nn.Module):
    """Figure 1C: stages one after the other from below, then all fused at once, then all joined below."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, hidden, stages = config.width, config.hidden, config.stages
        self.expand = nn.Sequential(nn.Conv1d(width, hidden, 1), GlobalNorm1d(hidden), nn.PReLU())
        self.climb = nn.ModuleList(depthwise_conv(hidden, stride=2 if stage else 1) for stage in range(stages))
        self.bottom_up = nn.ModuleList(depthwise_conv(hidden, stride=2) for _ in range(stages - 1))
        counts = [1 + (stage > 0) + (stage < stages - 1) for stage in range(stages)]  # itself and its neighbors
        self.fuse = nn.ModuleList(
            nn.Sequential(
                Concat(count, hidden) if config.fusion == "concat" else Sum(), GlobalNorm1d(hidden), nn.PReLU()
            )
            for count in counts
        )
        self.join = nn.Sequential(Concat(stages, hidden), GlobalNorm1d(hidden), nn.PReLU())
        self.contract = nn.Conv1d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channel, frame]`` to the same shape; the frames are a multiple of ``2 ** (stages - 1)``."""
        y = self.expand(x)
        stages = [y := climb(y) for climb in self.climb]  # each [B, hidden, I / 2 ** stage]
        fused = []
        for stage, fuse in enumerate(self.fuse):
            below = [self.bottom_up[stage - 1](stages[stage - 1])] if stage else []
            fused.append(fuse([*below, *stages[stage : stage + 2]]))  # lateral and top-down
        return self.contract(self.join(fused)) + x


class AFRCNN(Separator[Config]):
    """The whole network: encoder, one block applied again and again, masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        filters, width = config.filters, config.width
        self.encoder = CenteredEncoder(filters, config.window, multiple=2 ** (config.stages - 1))
        self.norm = GlobalLayerNorm(filters)
        self.bottleneck = nn.Linear(filters, width)
        self.block = Block(config)
        self.remind = nn.Sequential(nn.Conv1d(width, width, 1, groups=width), nn.PReLU())
        self.mask = nn.Sequential(nn.PReLU(), nn.Conv1d(width, config.sources * filters, 1))
        self.decoder = CenteredDecoder(filters, config.sources, config.window, apart=False)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = self.encoder(mixture)  # [B, I, N]
        start = self.bottleneck(self.norm(encoded)).mT  # [B, C, I]
        x = self.block(start)
        for _ in range(self.config.iterations - 1):
            x = self.block(self.remind(start + x))
        masks = torch.relu(self.mask(x)).unflatten(1, (self.config.sources, -1)).mT  # [B, source, I, N]
        return self.decoder(encoded[:, None] * masks, mixture.shape[-1])
