"""Naming the speakers of a conversation after enrolled voices."""

from collections.abc import Sequence
from itertools import count

import numpy as np
from scipy.optimize import linear_sum_assignment

from septool.conversation.clustering import unit_vectors
from septool.inference.voiceprints import Voiceprint


def name_speakers(embeddings: np.ndarray, voices: Sequence[Voiceprint], alike: float) -> tuple[str, ...]:
    """Name people by the voices that they sound like, each voice at most one of them.

    The names are given so that the similarities add up to the most. Whoever sounds like nobody is called speaker1,
    speaker2, ... by their place, or by a later number if a voice has that name.

    Args:
        embeddings: what each person sounds like, ``[speaker, embedding]``; zero where that is not known.
        voices: by the same speaker network.
        alike: cosine from which two embeddings are of one voice.
    """
    taken = {voice.name for voice in voices}  # by another voice, even if it is not in this recording
    spare = (name for number in count(len(embeddings) + 1) if (name := f"speaker{number}") not in taken)
    by_place = [f"speaker{number}" for number in range(1, len(embeddings) + 1)]
    names = [next(spare) if name in taken else name for name in by_place]
    if voices and embeddings.any():  # all zero where nobody speaks for long enough to be recognized
        known = np.stack([voice.embedding for voice in voices])
        cosines = unit_vectors(embeddings) @ unit_vectors(known).T  # [speaker, voice]
        for speaker, voice in zip(*linear_sum_assignment(np.maximum(cosines, alike), maximize=True), strict=True):
            if cosines[speaker, voice] >= alike:
                names[speaker] = voices[voice].name
    return tuple(names)
