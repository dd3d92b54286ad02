"""Wavesplit: end-to-end speech separation by speaker clustering (Zeghidour and Grangier, TASLP 2021).

A first stack of dilated convolutions on the raw waveform gives every sample one vector for each
speaker. They are clustered over the whole recording, and the centroids, one a speaker, steer every
layer of a second stack that separates.

Where the paper leaves a choice:

- Layers are full convolutions of 512 channels, as in asteroid's public code: 83.5 M parameters. The
  29 M that SepFormer's paper prints fit no reading known; layers of 256 channels have 20.9 M.
- One output convolution serves all layers of the second stack.
- k-means starts from the sample whose vectors lie furthest apart, so nothing is drawn at random.

The paper learns with the identities of the speakers, which decide what vector is whose. Without them
(:mod:`septool.losses.wavesplit`) the clustering alone decides, in training as at test.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.means import weighted_means
from septool.models.layers.norms import GlobalNorm1d


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The system for WSJ0-2mix (21.0 dB SI-SNRi)."""

    width: int = 512  # d, channels and size of the speaker vectors
    speaker_layers: int = 14  # dilation doubles from each to the next
    blocks: int = 10  # layers of a separation stack, with doubling dilation
    repeats: int = 4  # separation stacks
    assign: Literal["kmeans", "mean"] = "kmeans"  # what becomes of the vectors; mean: each place over time
    clusterings: int = 10  # rounds of k-means


CONFIGS = {
    "d512": Config(),
    "d256": Config(width=256),
}


def dilated_conv(channels: int, width: int, dilation: int) -> nn.Conv1d:
    """Convolve over three samples, ``dilation`` apart, without changing the length."""
    return nn.Conv1d(channels, width, 3, padding=dilation, dilation=dilation)


def kmeans(points: Tensor, start: Tensor, rounds: int) -> Tensor:
    """Cluster the points of each item by themselves (Lloyd's algorithm).

    Args:
        points: ``[batch, point, channel]``.
        start: ``[batch, cluster, channel]``; a cluster without points stays where it was.
        rounds: how often points are assigned and centroids moved.

    Returns:
        Centroids, ``[batch, cluster, channel]``; gradients reach the points that they average.
    """
    centroids = start
    for _ in range(rounds):
        with torch.no_grad():
            nearest = torch.cdist(points, centroids).argmin(-1)
            members = F.one_hot(nearest, start.shape[1])  # [B, point, cluster]
        there = members.any(1)[..., None]
        centroids = torch.where(there, weighted_means(points, members), centroids.detach())
    return centroids


class SpeakerStack(nn.Module):
    """From the waveform to one unit vector for each speaker at every sample, in no steady order."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.sources, width = config.sources, config.width
        self.layers = nn.ModuleList(
            nn.Sequential(dilated_conv(width if i else 1, width, 2**i), nn.PReLU(), GlobalNorm1d(width))
            for i in range(config.speaker_layers)
        )
        self.out = nn.Conv1d(width, config.sources * width, 1)

    def forward(self, mixture: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, source, time, channel]``."""
        x = self.layers[0](mixture[:, None])  # [B, d, T]; one channel cannot be a residual
        for layer in self.layers[1:]:
            x = x + layer(x)
        vectors = self.out(x).unflatten(1, (self.sources, -1)).mT
        return F.normalize(vectors, dim=-1)


class SeparationLayer(nn.Module):
    """A dilated convolution whose channels are scaled and shifted by the speakers (FiLM)."""

    def __init__(self, channels: int, config: Config, dilation: int) -> None:
        super().__init__()
        width = config.width
        self.conv = dilated_conv(channels, width, dilation)
        self.scale = nn.Linear(config.sources * width, width)
        self.shift = nn.Linear(config.sources * width, width)
        self.out = nn.Sequential(nn.PReLU(), GlobalNorm1d(width))

    def forward(self, x: Tensor, speakers: Tensor) -> Tensor:
        """Map ``[batch, channel, time]`` and centroids ``[batch, source * width]`` to ``[batch, width, time]``."""
        scale, shift = self.scale(speakers)[..., None], self.shift(speakers)[..., None]
        return self.out(torch.addcmul(shift, scale, self.conv(x)))


class Wavesplit(Separator[Config]):
    """The whole network: speaker vectors, clustering, separation steered by the centroids."""

    loss = "wavesplit"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.speaker = SpeakerStack(config)
        self.layers = nn.ModuleList(
            SeparationLayer(config.width if i else 1, config, 2 ** (i % config.blocks))
            for i in range(config.repeats * config.blocks)
        )
        self.out = nn.Conv1d(config.width, config.sources, 1)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        *_, last = self.layer_estimates(mixture)
        return last

    def layer_estimates(self, mixture: Tensor) -> Iterator[Tensor]:
        """Yield the estimate ``[batch, source, time]`` of each layer in turn; the last is the network's."""
        speakers = self.centroids(self.speaker(mixture)).flatten(1)  # [B, C d]
        x = self.layers[0](mixture[:, None], speakers)  # [B, d, T]
        yield self.out(x)
        for layer in self.layers[1:]:
            x = x + layer(x, speakers)
            yield self.out(x)

    def centroids(self, vectors: Tensor) -> Tensor:
        """Turn ``vectors [batch, source, time, channel]`` into one for each source, ``[batch, source, channel]``."""
        if self.config.assign == "mean":
            return vectors.mean(2)
        # Unit vectors have the shortest sum where they lie furthest apart.
        apart = vectors.sum(1).square().sum(-1).argmin(-1)  # [B]
        start = vectors[torch.arange(len(vectors), device=vectors.device), :, apart]
        return kmeans(vectors.flatten(1, 2), start, self.config.clusterings)
