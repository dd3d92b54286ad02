"""The speaker network of Atss-Net, with the classifier that it is trained by (Li, Lin, Bao and Li, 2020).

"Atss-Net: target speaker separation via attention-based neural network" (Interspeech), section 3.1, after
Cai, Chen, Zhang and Li (TASLP 2020). It learns to name the speakers of its training corpus; in use the
last layer is removed and the output of the one before is the embedding that an extractor is given:
``extractor.speaker.load_state_dict(net.embedding.state_dict())``.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from septool.models.base import SpeakerEncoder
from septool.models.layers.speaker import SpeakerConfig, SpeakerEmbedding


@dataclass(frozen=True, kw_only=True)
class Config(SpeakerConfig):
    """Section 3.1, trained on the 1211 speakers of VoxCeleb1's training set (2.97 % equal error rate)."""

    speakers: int = 1211


CONFIGS = {"paper": Config()}


class SpeakerNet(SpeakerEncoder[Config]):
    """The embedding, and a linear layer to one score a speaker."""

    loss = "speaker-cross-entropy"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config, self.rate = config, config.rate
        self.embedding = SpeakerEmbedding(config)
        self.classifier = nn.Linear(config.embedding, config.speakers)

    def forward(self, recording: Tensor) -> Tensor:
        """Map ``[batch, time]`` to unnormalized log-likelihoods ``[batch, speaker]``."""
        return self.classifier(self.embedding(recording))
