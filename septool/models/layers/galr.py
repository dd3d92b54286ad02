"""The global layer of a GALR block, shared with the GALR extractor (Lam, Wang, Su and Yu, ICASSP 2021)."""

import torch
from torch import Tensor, nn

from septool.models.layers.attention import SelfAttention, SinusoidalPosition
from septool.models.layers.norms import GlobalLayerNorm


class GloballyAttentive(nn.Module):
    """Sections 2.2.2 and 2.2.3: self-attention over the segments, at Q summaries of each."""

    def __init__(self, filters: int, segment: int, summary: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.map = nn.Linear(segment, summary)  # C_map, Q x (K + 1)
        self.map_norm = nn.LayerNorm(filters)  # LN_D
        self.position = SinusoidalPosition(filters)
        self.attention = SelfAttention(filters, heads)
        self.dropout = nn.Dropout(dropout)
        self.norm = GlobalLayerNorm(filters)
        self.inverse = nn.Linear(summary, segment)  # C_inv, K x (Q + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, segment, frame, filter]`` to the same shape."""
        # Both maps act on the K axis; as a product from the left they need no transposed copy.
        summary = torch.matmul(self.map.weight, x) + self.map.bias[:, None]  # [B, S, Q, D]
        summary = self.map_norm(summary).transpose(1, 2) + self.position(x.shape[1])  # eq. 12, [B, Q, S, D]
        attended = self.norm(summary + self.dropout(self.attention(summary)))  # eqs. 5 to 10
        attended = attended.transpose(1, 2)  # [B, S, Q, D]
        return torch.matmul(self.inverse.weight, attended) + self.inverse.bias[:, None] + x  # eq. 13
