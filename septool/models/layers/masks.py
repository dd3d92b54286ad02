"""Dual-path blocks, and mask heads. Sequences keep their channels last."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.signal import frames


class DualPathBlock(nn.Module):
    """A layer within the chunks, then one across them (Luo, Chen and Yoshioka, 2020)."""

    def __init__(self, intra: nn.Module, inter: nn.Module) -> None:
        super().__init__()
        self.intra = intra
        self.inter = inter

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, chunk, frame, channel]`` to the same shape."""
        return self.inter(self.intra(x).transpose(1, 2)).transpose(1, 2)


class SourceSplit(nn.Module):
    """A 1x1 convolution from segments to one feature map a source, and the overlap-add of these.

    Both are linear and every frame is covered twice, so the smaller order is equal:
    ``sum(W x + b) = W sum(x) + 2 b``.
    """

    def __init__(self, channels: int, features: int, sources: int) -> None:
        super().__init__()
        self.sources = sources
        self.linear = nn.Linear(channels, sources * features)

    def forward(self, segments: Tensor, count: int, padding: frames.Padding) -> Tensor:
        """Map ``[batch, segment, size, channel]`` to ``[batch, source, frame, feature]``, ``count`` frames."""
        whole = frames.overlap_add(segments, count, padding)  # [batch, frame, channel]
        split = F.linear(whole, self.linear.weight, 2 * self.linear.bias)
        return split.unflatten(-1, (self.sources, -1)).transpose(1, 2)


class GatedMask(nn.Module):
    """The mask head of the dual-path family: ``ReLU(U_r (tanh(U_t x) * sigmoid(U_s x)))`` of ``[..., channel]``.

    GALR equations 14 and 15; DPRNN, DPTNet and SepFormer use the same with their own widths.
    """

    def __init__(self, channels: int, filters: int, activation: Literal["relu", "sigmoid"] = "relu") -> None:
        super().__init__()
        self.tanh = nn.Linear(channels, channels)
        self.sigmoid = nn.Linear(channels, channels)
        self.relu = nn.Linear(channels, filters, bias=False)
        self.activation = {"relu": torch.relu, "sigmoid": torch.sigmoid}[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., channel]`` to masks ``[..., filter]``, non-negative."""
        return self.activation(self.relu(torch.tanh(self.tanh(x)) * torch.sigmoid(self.sigmoid(x))))


class FilterConvolution(nn.Module):
    """One convolution along the axis of the filters for each source, N + 1 taps long (Tzinis et al., 2020).

    It is computed as a product with the Toeplitz matrix of its taps, several times as fast as a
    convolution that has a single channel.
    """

    def __init__(self, filters: int, sources: int) -> None:
        super().__init__()
        bound = (filters + 1) ** -0.5
        self.weight = nn.Parameter(torch.empty(sources, filters + 1).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(sources).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, filter]`` to ``[batch, frame, source, filter]``."""
        filters = x.shape[-1]
        taps = F.pad(self.weight, ((filters - 1) // 2, (filters - 2) // 2))
        matrix = taps.unfold(-1, filters, 1).flip(-2)  # [C, N, N], row n holds the taps around filter n
        return F.linear(x, matrix.flatten(0, 1), self.bias.repeat_interleave(filters)).unflatten(-1, matrix.shape[:2])
