"""GALR: globally attentive, locally recurrent network (Lam, Wang, Su and Yu, ICASSP 2021).

"Effective low-cost time-domain audio separation using globally attentive locally recurrent networks".
A bidirectional LSTM reads every segment, self-attention joins the segments, and the attention runs on
``Q`` summaries of a segment instead of its ``K`` frames (section 2.2.3).

Where the paper leaves a choice:

- Equation 13 as printed feeds the input of the attention, G, to the inverse map, which would make the
  attention dead code; its output, G-hat, is used.
- Equations 5 to 7 print two projections in a row; the parameter counts of Table 3 (1.5 M and 2.3 M)
  are met only with the usual single one.
- LN in equations 3 and 10 is taken as gLN, since equation 4 names the channel-only one LN_D apart.
- Of the other systems of Table 2 only their names are printed. Here they have D = 128 and M = 16, with which
  Table 3 has the same 17.0 dB for GALR; LSTMs join the segments as they read one, and attention joins the frames of
  a segment without the maps.
- "1D gated convolutional layer" of the encoder: equation 1 is only ReLU(U * x), as built here.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.attention import SelfAttention, SinusoidalPosition
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.masks import GatedMask, SourceSplit
from septool.models.layers.norms import GlobalLayerNorm
from septool.models.layers.recurrent import RecurrentResidual
from septool.models.layers.states import record_segments
from septool.signal import frames


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """Table 3, last row (20.3 dB SI-SNRi on WSJ0-2mix)."""

    filters: int = 128  # D
    window: int = 4  # M, samples
    stride: int | None = None  # samples from one window to the next; None: M / 2, as in the paper
    segment: int = 200  # K, frames
    summary: int = 8  # Q, attended positions a segment
    blocks: int = 6  # N
    hidden: int = 128  # H, LSTM units a direction
    heads: int = 8  # J
    dropout: float = 0.1
    within: Literal["lstm", "attention"] = "lstm"  # a segment
    across: Literal["attention", "lstm"] = "attention"  # segments


# Table 3, in its order, by filters and window; the rest of Table 2, by what works within and across segments.
CONFIGS = {
    "d64-m16": Config(filters=64, window=16, segment=100, summary=32),
    "d64-m8": Config(filters=64, window=8, segment=150, summary=16),
    "d64-m4": Config(filters=64, window=4, segment=200, summary=8),
    "d128-m16": Config(filters=128, window=16, segment=100, summary=32),
    "d128-m8": Config(filters=128, window=8, segment=150, summary=16),
    "d128-m4": Config(),
    "lstm-lstm": Config(window=16, segment=100, summary=32, across="lstm"),
    "attention-lstm": Config(window=16, segment=100, summary=32, within="attention", across="lstm"),
    "attention-attention": Config(window=16, segment=100, summary=32, within="attention"),
}


class LocallyAttentive(nn.Module):
    """Table 2: self-attention over the frames of each segment."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.first_norm = nn.LayerNorm(config.filters)
        self.position = SinusoidalPosition(config.filters)
        self.attention = SelfAttention(config.filters, config.heads)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = GlobalLayerNorm(config.filters)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, segment, frame, filter]`` to the same shape."""
        z = self.first_norm(x) + self.position(x.shape[2])
        return self.norm(z + self.dropout(self.attention(z))) + x


class GloballyAttentive(nn.Module):
    """Sections 2.2.2 and 2.2.3: self-attention over the segments, at Q summaries of each."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.map = nn.Linear(config.segment, config.summary)  # C_map, Q x (K + 1)
        self.map_norm = nn.LayerNorm(config.filters)  # LN_D
        self.position = SinusoidalPosition(config.filters)
        self.attention = SelfAttention(config.filters, config.heads)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = GlobalLayerNorm(config.filters)
        self.inverse = nn.Linear(config.summary, config.segment)  # C_inv, K x (Q + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, segment, frame, filter]`` to the same shape."""
        # Both maps act on the K axis; as a product from the left they need no transposed copy.
        summary = torch.matmul(self.map.weight, x) + self.map.bias[:, None]  # [B, S, Q, D]
        summary = self.map_norm(summary).transpose(1, 2) + self.position(x.shape[1])  # eq. 12, [B, Q, S, D]
        attended = self.norm(summary + self.dropout(self.attention(summary)))  # eqs. 5 to 10
        attended = attended.transpose(1, 2)  # [B, S, Q, D]
        return torch.matmul(self.inverse.weight, attended) + self.inverse.bias[:, None] + x  # eq. 13


class GloballyRecurrent(RecurrentResidual):
    """Table 2: a bidirectional LSTM along the segments, at every frame of them."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, segment, frame, filter]`` to the same shape."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def build_layers(config: Config) -> tuple[nn.Module, nn.Module]:
    """Build what works within the segments and what works across them."""
    within: nn.Module = RecurrentResidual(config.filters, config.hidden)
    across: nn.Module = GloballyAttentive(config)
    if config.within == "attention":
        within = LocallyAttentive(config)
    if config.across == "lstm":
        across = GloballyRecurrent(config.filters, config.hidden)
    return within, across


class GALR(Separator[Config]):
    """The whole network: encoder, N blocks over segments, gated masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.filters, config.window, config.stride)
        self.blocks = nn.Sequential(*(nn.Sequential(*build_layers(config)) for _ in range(config.blocks)))
        self.split = SourceSplit(config.filters, config.filters, config.sources)
        self.mask = GatedMask(config.filters, config.filters)
        self.decoder = Decoder(config.filters, config.window, config.stride)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = torch.relu(self.encoder(mixture))  # eq. 1, [B, I, D]
        count, size = encoded.shape[1], self.config.segment
        padding = frames.galr_padding(count, size)
        segments = self.blocks(frames.segment(encoded, size, padding))  # [B, S, K, D]
        split = self.split(segments, count, padding)  # [B, C, I, D]
        return self.decoder(encoded[:, None] * self.mask(split), mixture.shape[-1])  # eqs. 14 to 16

    def record_states(self) -> AbstractContextManager[list[Tensor]]:
        """Collect what leaves each block in the context, ``[batch, frame, filter]``; see :func:`record_segments`."""
        return record_segments(self.blocks, self.config.segment, frames.galr_padding(0, self.config.segment).front)
