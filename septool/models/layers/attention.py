"""Self-attention and positions. Sequences keep their channels last."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention of a sequence to itself (Vaswani et al., 2017, 3.2).

    Queries, keys and values come from one matrix product; the fused kernel never builds the weights
    that callers would throw away.
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., position, channel]`` to the same shape."""
        return self.out(self.attend(*self.qkv(x).chunk(3, dim=-1)))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention without the projections; each ``[..., position, channel]``."""
        shape = query.shape
        # The fused kernel takes one batch axis: [N, head, position, channel of a head].
        query, key, value = (
            t.reshape(-1, *t.shape[-2:]).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query, key, value)
        )
        mixed = attend(query, key, value, self.dropout if self.training else 0.0)
        return mixed.transpose(1, 2).reshape(shape)


def attend(query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention of ``[batch, head, position, channel]``, by whichever way is faster."""
    if query.requires_grad and query.device.type == "cpu" and query.dtype == torch.bfloat16:
        # The fused kernel's passes on a CPU take 1.3 to 4 times as long as these products, in bfloat16 alone.
        weights = torch.softmax((query * query.shape[-1] ** -0.5) @ key.mT, dim=-1)
        return F.dropout(weights, dropout) @ value
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)


class TransformerLayer(nn.Module):
    """Attention and a feed-forward network, each normalized before and added to its input.

    SepFormer equations 4 and 5; RE-SepFormer has the same layer.
    """

    def __init__(self, channels: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attention = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, feedforward)
        self.contract = nn.Linear(feedforward, channels)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``[..., position, channel]`` to the same shape."""
        z = self.attention(self.norm1(z)) + z  # eq. 4
        return self.contract(torch.relu_(self.expand(self.norm2(z)))) + z  # eq. 5, its widest tensor in place


class SinusoidalPosition(nn.Module):
    """Sine and cosine position table (Vaswani et al., 2017, 3.5), grown as longer inputs come."""

    table: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("table", torch.zeros(0, channels), persistent=False)

    def forward(self, positions: int) -> Tensor:
        """Return ``[positions, channel]``."""
        if positions > len(self.table):
            with torch.inference_mode(False):  # a table made in inference mode could not be trained with
                self.table = self._build(2 * positions).to(self.table)
        return self.table[:positions]

    def _build(self, positions: int) -> Tensor:
        index = torch.arange(positions, dtype=torch.float64)[:, None]
        rate = torch.exp(torch.arange(0, self.channels, 2, dtype=torch.float64) * (-math.log(1e4) / self.channels))
        table = torch.zeros(positions, self.channels, dtype=torch.float64)
        table[:, 0::2] = torch.sin(index * rate)
        table[:, 1::2] = torch.cos(index * rate)[:, : self.channels // 2]
        return table.float()
