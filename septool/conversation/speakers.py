"""How many people a recording has, and which runs are whose: clustering, then what needs to know the people.

1. The tree of :mod:`septool.conversation.clustering` is grown of embeddings less the mean of the recording.
2. Every run is given to a person anew (:mod:`septool.conversation.assignment`).
3. People whose voices differ by no more than so little speech does by chance are one.
"""

from functools import partial

import numpy as np

from septool.conversation.assignment import assign_runs
from septool.conversation.clustering import (
    CANNOT_LINK,
    LEAST_SHARE,
    THRESHOLD,
    cluster_speakers,
    number_speakers,
    unit_vectors,
)
from septool.conversation.constraints import Constraints
from septool.conversation.people import ANY_COUNT, SpeakerCount

# Parts of the threshold at which the tree is cut until there are as many people as there have to be. To cut it where
# there are just as many would make people of stray runs and one of two people who are alike.
FINER = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
# Of one person, the means of the first and the second half are 0 to 0.15 apart in 10 s of speech and more, 0.3 in 3 s.
ALIKE_SECONDS = 0.7  # s, over what the one who says less says: cosine distance of two means below which they are one


def find_speakers(
    embeddings: np.ndarray,
    seconds: np.ndarray,
    constraints: Constraints,
    *,
    threshold: float = THRESHOLD,
    count: SpeakerCount = ANY_COUNT,
) -> np.ndarray:
    """Give every run the number of its speaker.

    Args:
        embeddings: what each run sounds like, ``[run, embedding]``; zero for those too short to be told by.
        seconds: of speech in each, ``[run]``.
        constraints: what is known of pairs of runs.
        threshold: mean cosine distance from which two groups of runs, less the mean of the recording, are two people.
        count: how many people there may be.

    Returns:
        Speakers from 0, in the order of their first run, ``[run]``.
    """
    unit = unit_vectors(embeddings)
    cluster = partial(
        cluster_speakers, seconds=seconds, cannot_link=constraints.cannot_link, must_link=constraints.must_link
    )
    center = np.average(unit, axis=0, weights=seconds) if len(unit) > 1 else 0.0
    centered = (unit - center).astype(unit.dtype)  # hours have thousands of runs, which need not be there in double
    for finer in FINER:
        labels = cluster(centered, threshold=finer * threshold, least_share=LEAST_SHARE)
        if labels.max(initial=-1) + 1 >= count.least:
            break
    else:
        labels = cluster(centered, threshold=threshold, count=count, least_share=LEAST_SHARE)
    labels = _assign(unit, seconds, labels, constraints, count)
    joined = join_alike(unit, seconds, labels, constraints, count)
    if joined.max(initial=0) == labels.max(initial=0):
        return labels
    return _assign(unit, seconds, joined, constraints, count)


def mean_voices(unit: np.ndarray, seconds: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what each speaker sounds like, by the length of their runs, ``[speaker, embedding]``, of length one."""
    weights = np.zeros((labels.max(initial=-1) + 1, len(labels)))
    weights[labels, np.arange(len(labels))] = seconds
    return unit_vectors(weights @ unit)


def join_alike(
    unit: np.ndarray, seconds: np.ndarray, labels: np.ndarray, constraints: Constraints, count: SpeakerCount = ANY_COUNT
) -> np.ndarray:
    """Make one person of two, the most alike first, whose voices are nearer than one person's by chance.

    Who is known to differ is joined only if there would be too many people; so are those who are less alike.

    Args:
        unit: what each run sounds like, of length one, ``[run, embedding]``.
        seconds: of speech in each, ``[run]``.
        labels: the speakers so far, ``[run]``.
        constraints: what is known of pairs of runs.
        count: how many people there may be.

    Returns:
        Speakers from 0, in the order of their first run, ``[run]``.
    """
    while (people := labels.max(initial=0) + 1) > count.least:
        voices = mean_voices(unit, seconds, labels)
        spoken = np.bincount(labels, seconds, people)
        nearer = ALIKE_SECONDS / np.minimum(spoken[:, None], spoken) - (1 - voices @ voices.T)
        differ = np.zeros((people, people), dtype=bool)
        one, other = labels[constraints.cannot_link].T
        differ[one, other] = differ[other, one] = True
        nearer = np.where(differ, nearer - CANNOT_LINK, nearer)
        np.fill_diagonal(nearer, -np.inf)
        first, second = np.unravel_index(nearer.argmax(), nearer.shape)
        if people <= count.most and (nearer[first, second] <= 0 or differ[first, second]):
            break
        labels = number_speakers(np.where(labels == second, first, labels))
    return labels


def _assign(
    unit: np.ndarray, seconds: np.ndarray, labels: np.ndarray, constraints: Constraints, count: SpeakerCount
) -> np.ndarray:
    """Ask all runs again; if that leaves too few people, the labels are as they were."""
    if labels.max(initial=0) == 0:
        return labels
    assigned = number_speakers(assign_runs(unit, seconds, mean_voices(unit, seconds, labels), constraints))
    return labels if assigned.max() + 1 < count.least else assigned
