"""DPCL: deep clustering (Hershey, Chen, Le Roux and Watanabe, ICASSP 2016).

"Deep clustering: discriminative embeddings for segmentation and separation". A recurrent network gives
every time-frequency bin a unit vector; bins of one voice point the same way, so k-means finds the
voices. DPCL++ is its extension by Isik, Le Roux, Chen, Watanabe and Hershey (Interspeech 2016,
"Single-channel multi-speaker separation using deep clustering"): soft k-means, whose steps have
gradients, and an enhancement network that refines each estimate beside the mixture.

Where the papers leave a choice:

- k-means weighs bins by their magnitude instead of dropping those 40 dB below the loudest, and starts
  from points far apart instead of random ones: the same recording always gives the same voices.
- The features are log magnitudes; septool feeds every model at one level, which takes the place of the
  papers' mean and variance normalization.
- Later papers print 13.6 M parameters for DPCL++; the rows here have 10.6 M (the 4 x 300 network), 14.2 M
  (with the enhancement network below) and 18.4 M (2 x 600). No stated configuration gives 13.6 M.
- DPCL++ was trained in stages. Here its loss is the sum of both objectives, so one run trains all.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import MaskingSeparator, SeparatorConfig, at_least
from septool.models.layers.means import weighted_means
from septool.models.layers.recurrent import DeepBiLSTM
from septool.signal.stft import Analysis, log_magnitude


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The 4 x 300 network of Isik et al., without enhancement."""

    fft: int = 256  # samples, 32 ms at 8 kHz
    hop: int = 64  # samples
    hidden: int = 300  # LSTM units a direction
    layers: int = 4
    embedding: int = 40  # D
    activation: Literal["tanh", "linear"] = "tanh"  # activation of the embedding, before it is normalized
    hardness: float | None = None  # alpha of soft k-means; none assigns every bin to one source
    steps: int = 10  # k-means iterations
    enhancement: int = at_least(0, 0)  # LSTM layers of the enhancement network; 0 leaves it out
    dropout: float = 0.5  # between LSTM layers


CONFIGS = {
    "4x300": Config(),
    "2x600": Config(hidden=600, layers=2),  # Hershey et al.
    "dpcl++": Config(hardness=5.0, enhancement=2),  # Isik et al., end to end
}


def weighted_k_means(points: Tensor, weights: Tensor, count: int, *, hardness: float | None, steps: int) -> Tensor:
    """Weighted k-means of each item apart, with gradients where it is soft.

    Args:
        points: ``[batch, point, dimension]``.
        weights: ``[batch, point]``, how much each point counts; not negative.
        count: number of clusters.
        hardness: assignments are ``softmax(-hardness * squared distance)``; none gives each point to the
            nearest center alone.
        steps: how often the centers move.

    Returns:
        The assignment of each point to each cluster, ``[batch, point, cluster]``, adding up to one.
    """
    centers = _initial_centers(points, weights, count)
    for _ in range(steps):
        counted = _assignments(points, centers, hardness) * weights[..., None]
        centers = weighted_means(points, counted)  # one without weight (silence) moves to the origin
    return _assignments(points, centers, hardness)


def _assignments(points: Tensor, centers: Tensor, hardness: float | None) -> Tensor:
    # |v - m|^2 without |v|^2, which is common to all clusters.
    distance = centers.square().sum(-1)[:, None] - 2 * points @ centers.mT  # [B, N, C]
    if hardness is None:
        return F.one_hot(distance.argmin(-1), centers.shape[1]).to(points.dtype)
    return torch.softmax(-hardness * distance, dim=-1)


def _initial_centers(points: Tensor, weights: Tensor, count: int) -> Tensor:
    """Start at the heaviest point; every next center is the weighted point farthest from those chosen."""
    items = torch.arange(len(points), device=points.device)
    chosen = [points[items, weights.argmax(-1)]]  # [B, D] each
    nearest = torch.full_like(weights, torch.inf)
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, (points - chosen[-1][:, None]).square().sum(-1))
        chosen.append(points[items, (weights * nearest).argmax(-1)])
    return torch.stack(chosen, dim=1)


class Enhancement(nn.Module):
    """One network reads the mixture beside each estimate; a softmax over the sources joins the outputs."""

    def __init__(self, bins: int, config: Config) -> None:
        super().__init__()
        self.lstm = DeepBiLSTM(2 * bins, config.hidden, config.enhancement, config.dropout)
        self.linear = nn.Linear(2 * config.hidden, bins)

    def forward(self, spectrum: Tensor, masks: Tensor) -> Tensor:
        """Refine ``masks [batch, source, frame, bin]`` of ``spectrum [batch, frame, bin]``; returns their shape."""
        mixtures = spectrum[:, None].expand_as(masks)
        pairs = log_magnitude(torch.cat((mixtures, masks * mixtures), dim=-1))  # [B, C, T, 2F]
        scores = self.linear(self.lstm(pairs.flatten(0, 1)))  # [B C, T, F]
        return torch.softmax(scores.unflatten(0, masks.shape[:2]), dim=1)


class DPCL(MaskingSeparator[Config]):
    """The whole network: log spectrum, bidirectional LSTM, embeddings, k-means, binary or refined masks."""

    loss = "deep-clustering"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop)
        bins = self.analysis.bins
        self.lstm = DeepBiLSTM(bins, config.hidden, config.layers, config.dropout)
        self.linear = nn.Linear(2 * config.hidden, bins * config.embedding)
        self.enhancement = Enhancement(bins, config) if config.enhancement else None

    def masks(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""
        return self.cluster(spectrum, self.embed(spectrum))

    def embed(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` to unit vectors ``[batch, frame, bin, embedding]``."""
        vectors = self.linear(self.lstm(log_magnitude(spectrum)))  # [B, T, F D]
        vectors = vectors.unflatten(-1, (-1, self.config.embedding))
        if self.config.activation == "tanh":
            vectors = torch.tanh(vectors)
        return F.normalize(vectors, dim=-1)

    def cluster(self, spectrum: Tensor, embedding: Tensor) -> Tensor:
        """Cluster the bins of ``[batch, frame, bin]``, and refine if so built: ``[batch, source, frame, bin]``."""
        assignments = weighted_k_means(
            embedding.flatten(1, 2),
            spectrum.abs().flatten(1),
            self.config.sources,
            hardness=self.config.hardness,
            steps=self.config.steps,
        )
        masks = assignments.mT.unflatten(-1, spectrum.shape[1:])
        return masks if self.enhancement is None else self.enhancement(spectrum, masks)
