"""RE-SepFormer: chunks that do not overlap, and a memory of their means (Della Libera, Subakan et al., ICASSP 2024).

"Resource-efficient separation transformer". One transformer reads every chunk; the mean of each chunk stands for it in
a sequence that a memory transformer reads, and what it makes of a chunk is added to every frame of it.

The authors' code (SpeechBrain) is followed, since the published numbers were made with it, also where it fills up with
one whole chunk of zeros if the frames already fit. In one point it is not: there the chunks of all items of a batch are
one memory sequence, so that items influence each other; here every item has its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.attention import SinusoidalPosition, TransformerLayer
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.norms import GlobalLayerNorm
from septool.models.layers.parts import in_parts


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The non-causal network (18.6 dB SI-SNRi on WSJ0-2mix with dynamic mixing)."""

    filters: int = 128
    window: int = 16  # encoder kernel, samples; the stride is half of it
    chunk_size: int = 150  # frames; any number, since chunks do not overlap
    blocks: int = 2  # transformers over chunks, with one over the memory between two of them
    layers: int = 8  # layers of each transformer
    heads: int = 8
    feedforward: int = 1024


CONFIGS = {"paper": Config()}


class Transformer(nn.Module):
    """SepFormer's: positions, the layers, and a skip around all of them; every sequence is normalized on its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes = config.filters, config.heads, config.feedforward
        self.position = SinusoidalPosition(config.filters)
        self.layers = nn.Sequential(*(TransformerLayer(*sizes) for _ in range(config.layers)))
        self.layer_norm = nn.LayerNorm(config.filters, eps=1e-6)
        self.global_norm = GlobalLayerNorm(config.filters, eps=torch.finfo(torch.float32).eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[sequence, position, filter]`` to the same shape."""
        return x + self.global_norm(self.layer_norm(in_parts(self.layers, x + self.position(x.shape[1]))))


class RESepFormer(Separator[Config]):
    """The whole network: encoder, transformers over chunks and over the memory, masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.filters, config.window)
        self.chunks = nn.ModuleList(Transformer(config) for _ in range(config.blocks))
        self.memory = nn.ModuleList(Transformer(config) for _ in range(config.blocks - 1))
        self.activation = nn.PReLU()
        self.mask = nn.Linear(config.filters, config.filters * config.sources)
        self.decoder = Decoder(config.filters, config.window)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = torch.relu(self.encoder(mixture))  # [B, frame, filter]
        count, size = encoded.shape[1], self.config.chunk_size
        x = F.pad(encoded, (0, 0, 0, size - count % size)).unflatten(1, (-1, size))  # [B, chunk, frame, filter]
        for number, chunks in enumerate(self.chunks):
            if number:
                x = x + self.memory[number - 1](x.mean(2))[:, :, None]
            x = chunks(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        whole = self.activation(x.flatten(1, 2)[:, :count])
        # The sources of a filter are neighbours: [B, frame, filter, source].
        masks = torch.relu(self.mask(whole)).unflatten(-1, (-1, self.config.sources)).permute(0, 3, 1, 2)
        return self.decoder(masks * encoded[:, None], mixture.shape[-1])
