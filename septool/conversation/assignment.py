"""Who says each run, once it is known what everybody sounds like: by the voice, and by what goes on around it.

Clustering gives every run to the group that it was joined to on the way up the tree, in which it may be the odd one.
Here all runs are asked again, together: a Markov random field in which a run is the more probably a person's the more
it sounds like them and the longer it is, the same person's as those that it goes on from, and nobody's who speaks on
the other track. Its marginals are approximated by mean field (Koller and Friedman, "Probabilistic graphical models",
2009, section 11.5), one run after the other.
"""

import numpy as np

from septool.conversation.constraints import Constraints

# The first of these was chosen among 5, 8 and 15, the others are round numbers of which twice or half does as well.
LIKENESS = 15.0  # log-odds of a person against another for a second of speech and a cosine that is larger by one
HEARD_S = 2.0  # of speech, beyond which a run says no more of its voice
GOES_ON = 1.0  # log-odds that a run on the same track after a short pause is of the same person
IS_SAME = 2.0  # that the same part of the recording, heard alone in two windows, is
DIFFERS = 8.0  # that two tracks that are busy at once are not
SWEEPS = 15


def assign_runs(
    embeddings: np.ndarray, seconds: np.ndarray, voices: np.ndarray, constraints: Constraints
) -> np.ndarray:
    """Return the person of each run, ``[run]``.

    Args:
        embeddings: what each run sounds like, of length one, or zero where that is not known, ``[run, embedding]``.
        seconds: of speech in each, ``[run]``.
        voices: what each person sounds like, of length one, ``[person, embedding]``.
        constraints: between runs.
    """
    neighbors: list[list[tuple[int, float]]] = [[] for _ in embeddings]
    for pairs, odds in (
        (constraints.cannot_link, -DIFFERS),
        (constraints.must_link, IS_SAME),
        (constraints.follow, GOES_ON),
    ):
        for one, other in pairs.tolist():
            neighbors[one].append((other, odds))
            neighbors[other].append((one, odds))
    alone = LIKENESS * np.minimum(seconds, HEARD_S)[:, None] * (embeddings @ voices.T)
    found = _softmax(alone)
    for _ in range(SWEEPS):
        for run, around in enumerate(neighbors):
            if around:
                found[run] = _softmax(alone[run] + sum(odds * found[other] for other, odds in around))
    return found.argmax(1)


def _softmax(odds: np.ndarray) -> np.ndarray:
    powers = np.exp(odds - odds.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
