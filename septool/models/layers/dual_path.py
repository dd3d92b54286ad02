"""The separator around dual-path blocks: what DPRNN, DPTNet, SepFormer and Tiny-SepFormer have in common."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.masks import GatedMask, SourceSplit
from septool.models.layers.norms import GlobalLayerNorm
from septool.models.layers.states import record_segments
from septool.signal import frames


class DualPathConfig(SeparatorConfig):
    """What the configurations have in common; no dataclass, so that each has its fields in its own order."""

    filters: int  # filters of the encoder
    window: int  # encoder kernel, samples; the stride is half of it
    chunk: int  # frames


DualPathConfigT = TypeVar("DualPathConfigT", bound=DualPathConfig)


class DualPathSeparator(Separator[DualPathConfigT]):
    """Encoder, blocks over half-overlapping chunks, gated masks, decoder (Luo, Chen and Yoshioka, 2020).

    As in the public code that the papers compare with: gLN and a 1x1 convolution stand before the chunks; a PReLU, a
    1x1 convolution to one feature map a source and the gated masks behind them.
    """

    def __init__(
        self,
        config: DualPathConfigT,
        blocks: Iterable[nn.Module],
        *,
        features: int,
        rectify: bool = True,
        bias: bool = False,
        padding: Literal["even", "unfold"] = "even",
        mask: Literal["relu", "sigmoid"] = "relu",
    ) -> None:
        """Build the network around its blocks.

        Args:
            config: the model's.
            blocks: map ``[batch, chunk, frame, feature]`` to the same shape. A generator builds them between the layers
                before and behind them, so that random weights are drawn in the order of the signal.
            features: channels of the blocks.
            rectify: put a ReLU behind the encoder.
            bias: give the convolution before the chunks a bias.
            padding: zeros around the chunks, by the names of :data:`septool.signal.frames.PADDINGS`.
            mask: what the masks end in.
        """
        super().__init__()
        self.config, self.rectify, self.padding = config, rectify, frames.PADDINGS[padding]
        self.encoder = Encoder(config.filters, config.window)
        self.norm = GlobalLayerNorm(config.filters)
        self.linear = nn.Linear(config.filters, features, bias=bias)
        self.blocks = nn.Sequential(*blocks)
        self.activation = nn.PReLU()
        self.split = SourceSplit(features, features, config.sources)
        self.mask = GatedMask(features, config.filters, mask)
        self.decoder = Decoder(config.filters, config.window)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = self.encoder(mixture)  # [B, L, filter]
        if self.rectify:
            encoded = torch.relu(encoded)
        count, size = encoded.shape[1], self.config.chunk
        padding = self.padding(count, size)
        chunks = frames.segment(self.linear(self.norm(encoded)), size, padding)  # [B, S, K, feature]
        chunks = self.activation(self.blocks(chunks))
        masks = self.mask(self.split(chunks, count, padding))  # [B, C, L, filter]
        return self.decoder(masks * encoded[:, None], mixture.shape[-1])

    def record_states(self) -> AbstractContextManager[list[Tensor]]:
        """Collect what leaves each block in the context, ``[batch, frame, feature]``; see :func:`record_segments`."""
        return record_segments(self.blocks, self.config.chunk, self.padding(0, self.config.chunk).front)
