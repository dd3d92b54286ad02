"""The mask network of Atss-Net, shared with Atss-Net (PIT) (Li et al., 2020)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from septool.models.base import at_least
from septool.models.layers.attention import attend


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Section 4.2."""

    fft: int = 512
    window: int = 400  # samples, 25 ms at 16 kHz
    hop: int = 160  # samples
    channels: int = 64  # d_k
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)  # in time, of Table 1's 5x5 convolutions
    blocks: int = at_least(0, 3)  # N
    heads: int = 2  # h


class Convolution(nn.Module):
    """A 2-d convolution over ``[batch, frame, bin, channel]`` that keeps the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        """Dilate in time."""
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, dilation=(dilation, 1), padding="same")

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, bin, channel]`` to the same shape with the outputs as channels."""
        # The permuted view is torch's channels-last layout: no copy is made.
        return self.convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class TemporalAttention(nn.Module):
    """Sections 3.2 to 3.4: attention over time for every frequency, heads joined by a 3x3 convolution."""

    def __init__(self, config: MaskConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.channels, 3 * config.heads * config.channels)  # W^Q, W^K, W^V, 1x1
        self.out = Convolution(config.heads * config.channels, config.channels, 3)  # W^O

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, bin, channel]`` to the same shape."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # [B, T, F, 3, h, d_k]
        query, key, value = qkv.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)  # [B F, h, T, d_k] each
        heads = attend(query, key, value)  # eq. 7
        joined = heads.unflatten(0, (len(x), -1)).permute(0, 3, 1, 2, 4).flatten(3)  # [B, T, F, h d_k]
        return self.out(joined)  # eq. 8


class FeedForward(nn.Module):
    """Section 3.5: two linear layers along the frequency axis, with four times its width between them."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.expand = nn.Linear(bins, 4 * bins)
        self.contract = nn.Linear(4 * bins, bins)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, bin, channel]`` to the same shape."""
        return self.contract(torch.relu(self.expand(x.mT))).mT  # eq. 12


class AttentionBlock(nn.Module):
    """Temporal attention and feed-forward layer, each normalized first and added to its input (eq. 13)."""

    def __init__(self, bins: int, config: MaskConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm([bins, config.channels])
        self.attention = TemporalAttention(config)
        self.feed_norm = nn.LayerNorm([bins, config.channels])
        self.feed = FeedForward(bins)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, bin, channel]`` to the same shape."""
        x = x + self.attention(self.attention_norm(x))  # eq. 11
        return x + self.feed(self.feed_norm(x))


class MaskNetwork(nn.Module):
    """Figure 2: dilated convolutions, N attention blocks, the Transform block."""

    def __init__(self, bins: int, embedding: int, config: MaskConfig, masks: int = 1) -> None:
        super().__init__()
        channels, whole = config.channels, bins + embedding
        layers: list[nn.Module] = []  # Table 1
        for number, dilation in enumerate(config.dilations):
            layers += [Convolution(channels if number else 1, channels, 5, dilation), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, Convolution(channels, channels, 1))
        self.blocks = nn.Sequential(*(AttentionBlock(whole, config) for _ in range(config.blocks)))
        self.dense = nn.Linear(whole, bins)
        self.out = Convolution(channels, masks, 3)

    def forward(self, magnitude: Tensor, embedding: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, embedding]`` to ``[batch, mask, frame, bin]``, between 0 and 1."""
        voice = embedding[:, None].expand(-1, magnitude.shape[1], -1)
        joined = torch.cat((magnitude, voice), dim=-1)[..., None]  # eq. 9, [B, T, F, 1]
        x = self.blocks(self.convolutions(joined))  # [B, T, F, d_k]
        return torch.sigmoid(self.out(self.dense(x.mT).mT)).permute(0, 3, 1, 2)  # eq. 3
