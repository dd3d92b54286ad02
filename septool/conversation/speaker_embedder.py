"""What a conversation uses of a speaker network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from septool.conversation.statistics import EmbeddingStatistics

Embed = Callable[[np.ndarray], np.ndarray]  # [time] to [embedding]


@dataclass(frozen=True)
class SpeakerEmbedder:
    """A function from samples of one speaker to an embedding, with what its results depend on."""

    embed: Embed
    rate: int  # Hz of what ``embed`` is given
    statistics: EmbeddingStatistics  # statistics of the embeddings
