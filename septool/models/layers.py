"""Layers that several of the papers share, each with the equation it computes.

Sequences keep their channels last. A layer moves here when a third model needs the same equation.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.signal import frames


class Encoder(nn.Module):
    """Learned analysis of the waveform: half-overlapping windows times ``filters`` basis signals.

    The input is padded at its end so that the windows cover every sample (no dead tail).
    """

    def __init__(self, filters: int, window: int, *, bias: bool = False) -> None:
        super().__init__()
        if window < 2:
            raise ValueError(f"window is {window}; half-overlapping windows have at least 2 samples")
        self.window, self.hop = window, window // 2
        self.basis = nn.Conv1d(1, filters, window, stride=self.hop, bias=bias)

    def forward(self, mixture: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, frame, filter]``."""
        missing = frames.missing_samples(mixture.shape[-1], self.window, self.hop)
        return self.basis(F.pad(mixture, (0, missing))[:, None]).transpose(1, 2)


class Decoder(nn.Module):
    """Learned synthesis: every frame becomes a window of samples, windows are overlapped and added."""

    def __init__(self, filters: int, window: int, *, bias: bool = False) -> None:
        super().__init__()
        self.basis = nn.ConvTranspose1d(filters, 1, window, stride=window // 2, bias=bias)

    def forward(self, sources: Tensor, samples: int) -> Tensor:
        """Map ``[batch, source, frame, filter]`` to ``[batch, source, samples]``."""
        batch, count, _, _ = sources.shape
        waves = self.basis(sources.flatten(0, 1).transpose(1, 2))
        return waves.reshape(batch, count, -1)[..., :samples]


class CentredEncoder(Encoder):
    """Encoder whose first window is centred on the first sample: half a window of zeros goes in front.

    SuDoRM-RF, A-FRCNN and the two-step TDCN place their windows so.
    """

    def __init__(self, filters: int, window: int, *, bias: bool = False, multiple: int = 1) -> None:
        """Pad the end to a multiple of ``multiple`` frames, for networks that halve their rate."""
        super().__init__(filters, window, bias=bias)
        self.multiple = multiple

    def forward(self, mixture: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, frame, filter]``."""
        missing = -mixture.shape[-1] % (self.hop * self.multiple)
        return super().forward(F.pad(mixture, (self.hop, missing + self.window % 2)))


class CentredDecoder(nn.Module):
    """Synthesis to :class:`CentredEncoder`, all sources at once.

    ``apart`` gives every source a basis of its own; otherwise each is heard from the filters of all.
    """

    def __init__(self, filters: int, sources: int, window: int, *, bias: bool = False, apart: bool = True) -> None:
        super().__init__()
        self.hop = window // 2
        groups = sources if apart else 1
        self.basis = nn.ConvTranspose1d(sources * filters, sources, window, stride=self.hop, bias=bias, groups=groups)

    def forward(self, sources: Tensor, samples: int) -> Tensor:
        """Map ``[batch, source, frame, filter]`` to ``[batch, source, samples]``."""
        waves = self.basis(sources.mT.flatten(1, 2))
        return waves[..., self.hop : self.hop + samples]


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
        """Normalise ``[batch, ..., channel]``."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[1:], eps=self.eps), self.weight)


class GlobalNorm1d(nn.GroupNorm):
    """The same gLN of ``[batch, channel, time]``, the layout of convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, eps=1e-8)


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


class DualPathBlock(nn.Module):
    """A layer within the chunks, then one across them (Luo, Chen and Yoshioka, 2020)."""

    def __init__(self, intra: nn.Module, inter: nn.Module) -> None:
        super().__init__()
        self.intra = intra
        self.inter = inter

    def forward(self, x: Tensor) -> Tensor:  # [B, chunk, frame, channel]
        return self.inter(self.intra(x).transpose(1, 2)).transpose(1, 2)


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


class BiLSTM(nn.Module):
    """A bidirectional LSTM along sequences, and a linear map of both directions back to their channels.

    GALR equation 2, DPRNN equations 1, 2 and 7.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape, all sequences in one call."""
        both, _ = self.lstm(x.flatten(0, 1))  # [batch sequence, position, 2 hidden]
        return self.linear(both).unflatten(0, x.shape[:2])


class RecurrentResidual(nn.Module):
    """A bidirectional LSTM along sequences, its output normalised and added to the input.

    GALR equations 2 and 3, DPRNN equations 1 to 6.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.recurrent = BiLSTM(channels, hidden)
        self.norm = GlobalLayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape."""
        return self.norm(self.recurrent(x)) + x


class DeepBiLSTM(nn.Module):
    """Bidirectional LSTM layers on each other: what the spectrogram-domain systems read a recording with."""

    def __init__(self, channels: int, hidden: int, layers: int, dropout: float) -> None:
        """Drop out between the layers, not behind the last."""
        super().__init__()
        dropout = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(channels, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, channel]`` to ``[batch, frame, 2 hidden]``."""
        return self.lstm(x)[0]


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
    """The mask head of the dual-path family: ``ReLU(U_r (tanh(U_t x) * sigmoid(U_s x)))``.

    GALR equations 14 and 15; DPRNN, DPTNet and SepFormer use the same with their own widths.
    """

    def __init__(self, channels: int, filters: int, activation: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.tanh = nn.Linear(channels, channels)
        self.sigmoid = nn.Linear(channels, channels)
        self.relu = nn.Linear(channels, filters, bias=False)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., channel]`` to masks ``[..., filter]``, non-negative unless ``activation`` is another."""
        return self.activation(self.relu(torch.tanh(self.tanh(x)) * torch.sigmoid(self.sigmoid(x))))
