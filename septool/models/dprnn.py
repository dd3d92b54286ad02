"""DPRNN: dual-path recurrent neural network (Luo, Chen and Yoshioka, ICASSP 2020).

"Dual-path RNN: efficient long sequence modeling for time-domain single-channel speech separation". One
bidirectional LSTM reads every chunk, another one reads across the chunks.

The paper describes the chunks and the blocks. What is around them follows the public code that later
papers compare with: gLN and a 1x1 convolution before the chunks, gated masks after them. Asteroid's
version does not rectify the encoder's output, gives the 1x1 convolution a bias, puts more zeros around
the chunks and ends its masks with a sigmoid.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.masks import DualPathBlock, GatedMask, SourceSplit
from septool.models.layers.norms import GlobalLayerNorm
from septool.models.layers.recurrent import RecurrentResidual
from septool.models.layers.states import record_segments
from septool.signal import frames


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The row of the smallest window (18.8 dB SI-SNRi on WSJ0-2mix)."""

    filters: int = 64  # filters of the encoder
    features: int = 64  # N, channels of the blocks
    window: int = 2  # encoder kernel, samples; the stride is half of it
    chunk: int = 250  # K, frames
    blocks: int = 6  # B
    hidden: int = 128  # H, LSTM units a direction
    rectify: bool = True  # ReLU after the encoder
    bias: bool = False  # bias in the convolution before the chunks
    padding: Literal["even", "unfold"] = "even"
    mask: Literal["relu", "sigmoid"] = "relu"


# By the stride of the encoder, the largest first; and the defaults of asteroid.
CONFIGS = {
    "stride8": Config(window=16, chunk=100),
    "stride4": Config(window=8, chunk=150),
    "stride2": Config(window=4, chunk=200),
    "stride1": Config(),
    "asteroid": Config(features=128, window=16, chunk=100, rectify=False, bias=True, padding="unfold", mask="sigmoid"),
}


class DPRNN(Separator[Config]):
    """The whole network: encoder, B blocks over chunks, gated masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.filters, config.window)
        self.norm = GlobalLayerNorm(config.filters)
        self.linear = nn.Linear(config.filters, config.features, bias=config.bias)
        sizes = config.features, config.hidden
        self.blocks = nn.Sequential(  # eq. 7
            *(DualPathBlock(RecurrentResidual(*sizes), RecurrentResidual(*sizes)) for _ in range(config.blocks))
        )
        self.activation = nn.PReLU()
        self.split = SourceSplit(config.features, config.features, config.sources)
        self.mask = GatedMask(config.features, config.filters, config.mask)
        self.decoder = Decoder(config.filters, config.window)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = self.encoder(mixture)  # [B, L, filter]
        if self.config.rectify:
            encoded = torch.relu(encoded)
        count, size = encoded.shape[1], self.config.chunk
        padding = frames.PADDINGS[self.config.padding](count, size)
        chunks = frames.segment(self.linear(self.norm(encoded)), size, padding)  # T [B, S, K, N]
        chunks = self.activation(self.blocks(chunks))
        masks = self.mask(self.split(chunks, count, padding))  # [B, C, L, filter]
        return self.decoder(masks * encoded[:, None], mixture.shape[-1])

    def record_states(self) -> AbstractContextManager[list[Tensor]]:
        """Collect what leaves each block in the context, ``[batch, frame, feature]``; see :func:`record_segments`."""
        padding = frames.PADDINGS[self.config.padding](0, self.config.chunk)
        return record_segments(self.blocks, self.config.chunk, padding.front)
