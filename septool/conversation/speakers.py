"""Estimating the number of speakers, and who speaks in each run: fine clusters, merged by a probabilistic model.

1. Two beginnings, as each may end where nothing small is better: all runs by themselves, and groups of the tree of
   :mod:`septool.conversation.clustering`, grown of embeddings less the mean of the recording and cut
   finer than people are.
2. People are merged and runs moved as :mod:`septool.conversation.partition` finds it more probable.
3. Who says next to nothing is nobody: what they say is given to others. The more probable end of both is it.
"""

from functools import partial

import numpy as np

from septool.conversation.clustering import cluster_speakers, unit_vectors
from septool.conversation.constraints import Constraints
from septool.conversation.partition import Partition
from septool.conversation.people import ANY_COUNT, SpeakerCount
from septool.conversation.statistics import GE2E, EmbeddingStatistics

NO_PAIR = np.zeros((0, 2), dtype=int)
LEAST_GROUP = 0.03  # of the speech, that a group has at least
LEAST_SPOKEN = 0.04  # of the speech, that a person has at least in the end
MOST_GROUPS = 500  # that are merged: what compares them all grows by their square


def find_speakers(
    embeddings: np.ndarray,
    seconds: np.ndarray,
    overlap: np.ndarray,
    constraints: Constraints,
    *,
    count: SpeakerCount = ANY_COUNT,
    statistics: EmbeddingStatistics = GE2E,
) -> np.ndarray:
    """Give every run the number of its speaker.

    Args:
        embeddings: what each run sounds like, ``[run, embedding]``; zero for those too short to be told by.
        seconds: of speech in each, ``[run]``.
        overlap: part of each with two people at once, ``[run]``.
        constraints: what is known of pairs of runs.
        count: how many people there may be.
        statistics: of the network whose embeddings they are.

    Returns:
        Speakers from 0, in the order of their first run, ``[run]``.
    """
    groups, runs = _beginnings(embeddings, seconds, constraints, count, statistics.groups_apart)
    unit = unit_vectors(embeddings)
    of_groups = Partition(unit, seconds, overlap, constraints, groups, count, statistics)
    of_runs = Partition(unit, seconds, overlap, constraints, runs, count, statistics)
    of_runs.merge_speakers()
    for partition in (of_groups, of_runs):
        partition.improve()
        partition.reassign_minor_speakers(LEAST_SPOKEN * seconds.sum())
    return max(of_groups, of_runs, key=Partition.log_probability).labels


def _beginnings(
    embeddings: np.ndarray, seconds: np.ndarray, constraints: Constraints, count: SpeakerCount, apart: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return groups of the tree cut finer than people are, and the runs by themselves, ``[run]`` each."""
    unit = unit_vectors(embeddings)
    center = np.average(unit, axis=0, weights=seconds) if len(unit) > 1 else 0.0
    unit -= center  # of thousands of runs, in an hour and more, one copy is enough
    few = SpeakerCount(count.least, max(count.least, MOST_GROUPS))
    cluster = partial(cluster_speakers, unit, seconds, cannot_link=constraints.cannot_link, count=few)
    groups = cluster(must_link=constraints.must_link, threshold=apart, least_share=LEAST_GROUP)
    return groups, cluster(must_link=NO_PAIR, threshold=0.0, long_enough=0.0)
