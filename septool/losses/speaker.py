"""What a speaker network is trained by: ``loss(model, recording, speaker)``."""

from torch import Tensor, nn
from torch.nn import functional as F


def speaker_cross_entropy(model: nn.Module, recording: Tensor, speaker: Tensor) -> Tensor:
    """Minus the log-likelihood of the right speaker of each item, ``[batch]``.

    Args:
        model: maps recordings to one score a speaker.
        recording: ``[batch, time]``.
        speaker: the numbers of the speakers, ``[batch]``.
    """
    return F.cross_entropy(model(recording).float(), speaker, reduction="none")
