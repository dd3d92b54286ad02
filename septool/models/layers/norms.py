"""Normalization layers that torch does not have. Sequences keep their channels last."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GlobalLayerNorm(nn.Module):
    """gLN: mean and variance over all positions and channels of one item, one gain and bias a channel.

    Conv-TasNet (Luo and Mesgarani, 2019), equation 9. Equal to ``GroupNorm(1, channels)`` on a tensor
    with channels last, which SepFormer's and DPRNN's code call "ln".
    """

    def __init__(self, channels: int, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``[batch, ..., channel]``."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[1:], eps=self.eps), self.weight)


class GlobalNorm1d(nn.GroupNorm):
    """The same gLN of ``[batch, channel, time]``, the layout of convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, eps=1e-8)
