"""DPRNN: dual-path recurrent neural network (Luo, Chen and Yoshioka, ICASSP 2020).

"Dual-path RNN: efficient long sequence modeling for time-domain single-channel speech separation". One
bidirectional LSTM reads every chunk, another one reads across the chunks.

The paper describes the chunks and the blocks. What is around them (:class:`DualPathSeparator`) follows the public
code that later papers compare with: gLN and a 1x1 convolution before the chunks, gated masks after them. Asteroid's
version does not rectify the encoder's output, gives the 1x1 convolution a bias, puts more zeros around
the chunks and ends its masks with a sigmoid.
"""

from dataclasses import dataclass
from typing import Literal

from septool.models.layers.dual_path import DualPathConfig, DualPathSeparator
from septool.models.layers.masks import DualPathBlock
from septool.models.layers.recurrent import RecurrentResidual


@dataclass(frozen=True, kw_only=True)
class Config(DualPathConfig):
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


class DPRNN(DualPathSeparator[Config]):
    """The whole network: encoder, B blocks over chunks, gated masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        sizes = config.features, config.hidden
        blocks = (DualPathBlock(RecurrentResidual(*sizes), RecurrentResidual(*sizes)) for _ in range(config.blocks))
        super().__init__(
            config,
            blocks,  # eq. 7
            features=config.features,
            rectify=config.rectify,
            bias=config.bias,
            padding=config.padding,
            mask=config.mask,
        )
