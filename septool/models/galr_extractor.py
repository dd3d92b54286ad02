"""GALR steered by a speaker embedding: an extractor in the time domain, septool's own.

Atss-Net's authors name the time domain as what comes next (Li, Lin, Bao and Li, 2020, section 6). Here GALR
(Lam, Wang, Su and Yu, 2021) separates the mixture into the target and the rest, beside Atss-Net's speaker network:

- *Adaptation*: from the second block on, the embedding scales and shifts the features before every block
  (feature-wise linear modulation, Perez et al., 2018). It starts as the identity, so that a separator's
  trained weights can be taken over whole.
- *Recognition*: the speaker network embeds both outputs as well. The one whose embedding is closer to the
  enrollment's is returned, and their cosine similarity scores whether the target speaks at all.

So no output is the target by its position, which a network that was trained to separate would have to unlearn
first, and the separator's weights stay useful. The speaker network is trained beforehand and frozen.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import Extraction, Extractor, check_segments
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.galr import GloballyAttentive
from septool.models.layers.masks import GatedMask, SourceSplit
from septool.models.layers.recurrent import RecurrentResidual
from septool.models.layers.speaker import SpeakerConfig, SpeakerEmbedding
from septool.signal import frames

OUTPUTS = 2  # the target and the rest


@dataclass(frozen=True, kw_only=True)
class Config:
    """The sizes of the bundled GALR, which this starts from."""

    filters: int = 128  # D
    window: int = 32  # M, samples
    segment: int = 70  # K, frames
    summary: int = 24  # Q, attended positions a segment
    blocks: int = 6  # N
    hidden: int = 128  # H, LSTM units a direction
    heads: int = 8  # J
    dropout: float = 0.0
    speaker: SpeakerConfig = field(default_factory=lambda: SpeakerConfig(rate=8000))

    def __post_init__(self) -> None:
        check_segments(self)


CONFIGS = {
    "8k": Config(),
    "16k": Config(window=64, speaker=SpeakerConfig()),
}


class Adaptation(nn.Module):
    """A gain and a bias for every channel, linear in the embedding; none at first."""

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map ``[batch, segment, frame, channel]`` and ``[batch, embedding]`` to the first one's shape."""
        gain, bias = self.linear(embedding)[:, None, None].chunk(2, dim=-1)
        return torch.addcmul(x + bias, x, gain)


class AdaptedGALR(nn.Module):
    """GALR with an adaptation before every block but the first; its other weights are named as GALR's."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.segment = config.segment
        self.encoder = Encoder(config.filters, config.window)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                RecurrentResidual(config.filters, config.hidden),
                GloballyAttentive(config.filters, config.segment, config.summary, config.heads, config.dropout),
            )
            for _ in range(config.blocks)
        )
        self.adaptations = nn.ModuleList(
            Adaptation(config.speaker.embedding, config.filters) for _ in range(config.blocks - 1)
        )
        self.split = SourceSplit(config.filters, config.filters, OUTPUTS)
        self.mask = GatedMask(config.filters, config.filters)
        self.decoder = Decoder(config.filters, config.window)

    def forward(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        """Separate ``mixture [batch, time]`` by ``embedding [batch, embedding]`` into ``[batch, output, time]``."""
        encoded = torch.relu(self.encoder(mixture))  # [B, I, D]
        count = encoded.shape[1]
        padding = frames.galr_padding(count, self.segment)
        x = self.blocks[0](frames.segment(encoded, self.segment, padding))  # [B, S, K, D]
        for adapt, block in zip(self.adaptations, self.blocks[1:], strict=True):
            x = block(adapt(x, embedding))
        masks = self.mask(self.split(x, count, padding))  # [B, C, I, D]
        return self.decoder(encoded[:, None] * masks, mixture.shape[-1])


class GALRExtractor(Extractor[Config]):
    """The whole system: speaker embedding, adapted separation, recognition."""

    loss = "recognition"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.speaker = SpeakerEmbedding(config.speaker, frozen=True)
        self.separator = AdaptedGALR(config)
        # From a cosine to the log-odds that two recordings are of one voice; even at a cosine of 0.5 at first.
        self.slope = nn.Parameter(torch.tensor(10.0))
        self.offset = nn.Parameter(torch.tensor(-5.0))

    def separate_and_match(self, mixture: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Separate ``mixture [batch, time]`` and compare the outputs with ``embedding [batch, embedding]``.

        Returns:
            The outputs ``[batch, output, time]``, and the log-odds of each to be the target, ``[batch, output]``.
        """
        target = F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=-1)
        # At the mean square of 1 that layers start with.
        outputs = self.separator(mixture, (target * target.shape[-1] ** 0.5).to(self.slope.dtype))
        # Recognition sends the outputs no gradient: they could be made to sound like anyone.
        embeddings = F.normalize(self.speaker(outputs.detach().flatten(0, 1)).to(target.dtype), dim=-1)
        cosines = (embeddings.unflatten(0, outputs.shape[:2]) * target[:, None]).sum(-1)
        return outputs, self.slope * cosines + self.offset

    def extract_with_score(self, mixture: Tensor, embedding: Tensor) -> Extraction:
        """Return the output ``[batch, time]`` that is most likely the target, and its log-odds ``[batch]``."""
        outputs, odds = self.separate_and_match(mixture, embedding)
        presence, choice = odds.max(dim=-1)
        voice = outputs.take_along_dim(choice[:, None, None], dim=1)[:, 0]
        # SI-SNR leaves the scale open: the one that explains most of the mixture is taken.
        scale = (voice * mixture).sum(-1, keepdim=True) / (voice.square().sum(-1, keepdim=True) + 1e-8)
        return Extraction(voice * scale, presence)

    def extract(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        """Return the output ``[batch, time]`` that is most likely the target."""
        return self.extract_with_score(mixture, embedding).voice
