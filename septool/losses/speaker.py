"""Losses of speaker networks: ``loss(model, recording, speaker)``."""

from torch import Tensor
from torch.nn import functional as F

from septool.models.speaker_net import SpeakerNet


def speaker_cross_entropy(model: SpeakerNet, recording: Tensor, speaker: Tensor) -> Tensor:
    """Minus the log-likelihood of the right speaker of each item, ``[batch]``.

    Args:
        model: maps recordings to one score a speaker.
        recording: ``[batch, time]``.
        speaker: the numbers of the speakers, ``[batch]``.
    """
    return F.cross_entropy(model(recording).float(), speaker, reduction="none")


def additive_margin(
    model: SpeakerNet, recording: Tensor, speaker: Tensor, margin: float = 0.2, scale: float = 30.0
) -> Tensor:
    """Cross-entropy of scaled cosines, of which the right one counts ``margin`` less (Wang et al., 2018), ``[batch]``.

    "Additive margin softmax for face verification". It asks for embeddings that are far from the
    other speakers' in angle, which is how they are compared in use.
    """
    embedding = F.normalize(model.embedding(recording).float(), dim=-1)
    cosines = embedding @ F.normalize(model.classifier.weight.float(), dim=-1).T
    right = F.one_hot(speaker, cosines.shape[-1])
    return F.cross_entropy(scale * (cosines - margin * right), speaker, reduction="none")
