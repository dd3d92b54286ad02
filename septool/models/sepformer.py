"""SepFormer: attention is all you need in speech separation (Subakan, Ravanelli et al., ICASSP 2021).

One transformer reads every chunk, another one reads across the chunks; nothing recurs. What is around them is
:class:`DualPathSeparator`. The printed 26 M parameters are 25.7 M, rounded up.

Where the paper and its authors' code (SpeechBrain) differ, the code is followed, since the published
numbers were made with it:

- Equation 6 has only a skip around the layers; the code puts a LayerNorm and a gLN in front of it.
- The "layer normalization" of the encoded mixture is gLN.
- The "two feed-forward layers and a ReLU" that make the masks are a gated pair and a third, linear one.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from septool.models.layers.attention import SinusoidalPosition, TransformerLayer
from septool.models.layers.dual_path import DualPathConfig, DualPathSeparator
from septool.models.layers.masks import DualPathBlock
from septool.models.layers.norms import GlobalLayerNorm
from septool.models.layers.parts import in_parts


@dataclass(frozen=True, kw_only=True)
class Config(DualPathConfig):
    """Table 2, first row (22.3 dB SI-SNRi on WSJ0-2mix with dynamic mixing)."""

    filters: int = 256  # F
    window: int = 16  # encoder kernel, samples; the stride is half of it
    chunk: int = 250  # C, frames
    blocks: int = 2  # N
    intra: int = 8  # Nintra, layers
    inter: int = 8  # Ninter, layers
    heads: int = 8
    feedforward: int = 1024  # DFF
    position: bool = True  # PosEnc


# Tables 2 and 3. Table 2 prints N=2, 4+4 layers and 8 heads twice, at 20.2 and at 19.9 dB.
CONFIGS = {
    "paper": Config(),
    "3mix": Config(sources=3),
    "4+4-heads16": Config(intra=4, inter=4, heads=16, feedforward=2048),
    "4+4": Config(intra=4, inter=4, feedforward=2048),
    "4+4-blocks3": Config(blocks=3, intra=4, inter=4, feedforward=2048),
    "4+4-noposition": Config(intra=4, inter=4, feedforward=2048, position=False),
    "4+1": Config(intra=4, inter=1, feedforward=2048),
    "3+3": Config(intra=3, inter=3, feedforward=2048),
    "3+3-noposition": Config(intra=3, inter=3, feedforward=2048, position=False),
}


class Transformer(nn.Module):
    """IntraT and InterT: positions, K layers, and a skip around all of them."""

    def __init__(self, config: Config, layers: int) -> None:
        super().__init__()
        self.position = SinusoidalPosition(config.filters) if config.position else None
        sizes = config.filters, config.heads, config.feedforward
        self.layers = nn.Sequential(*(TransformerLayer(*sizes) for _ in range(layers)))  # g, section 2.3.1
        self.layer_norm = nn.LayerNorm(config.filters, eps=1e-6)
        self.global_norm = GlobalLayerNorm(config.filters)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, filter]`` to the same shape."""
        start = z if self.position is None else z + self.position(z.shape[2])  # eq. 3
        layers = in_parts(self.layers, start.flatten(0, 1)).unflatten(0, z.shape[:2])
        return self.global_norm(self.layer_norm(layers)) + z  # eq. 6


class SepFormer(DualPathSeparator[Config]):
    """The whole network: encoder (eq. 1), N blocks over chunks h' (eq. 2), gated masks m, decoder (eq. 7)."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__(
            config,
            (
                DualPathBlock(Transformer(config, config.intra), Transformer(config, config.inter))
                for _ in range(config.blocks)
            ),
            features=config.filters,
        )
