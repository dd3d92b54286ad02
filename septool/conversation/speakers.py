"""Estimating the number of speakers, and who speaks in each run: fine clusters, merged by a probabilistic model.

1. The search starts twice, since each start may end in a local optimum: from single runs, and from clusters of the
   tree of :mod:`septool.conversation.clustering`, built on mean-centered embeddings and cut finer than speakers.
2. Speakers are merged and runs moved while :mod:`septool.conversation.partition` finds the result more probable.
3. Speakers below 4 % of the speech are reassigned. Of the two resulting partitions the more probable one is returned,
   unless it has fewer speakers than were asked for.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from septool.conversation.clustering import cluster_speakers, unit_vectors
from septool.conversation.partition import Partition
from septool.conversation.run_features import RunFeatures
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount
from septool.conversation.statistics import EmbeddingStatistics

NO_PAIR = np.zeros((0, 2), dtype=int)
LEAST_GROUP = 0.03  # minimum fraction of the speech per initial cluster
LEAST_SPOKEN = 0.04  # minimum fraction of the speech per final speaker
MOST_GROUPS = 500  # maximum number of initial clusters; comparing all pairs is quadratic


def find_speakers(
    features: RunFeatures,
    *,
    statistics: EmbeddingStatistics,
    count: SpeakerCount = ANY_COUNT,
) -> np.ndarray:
    """Assign a speaker number to each run.

    Args:
        features: those of the runs.
        statistics: statistics of the network's embeddings.
        count: allowed number of speakers.

    Returns:
        Speakers from 0, in the order of their first run, ``[run]``.
    """
    groups, runs = _beginnings(features, count, statistics.groups_apart)
    features = replace(features, embeddings=unit_vectors(features.embeddings))
    of_groups = Partition(features, groups, statistics, count)
    of_runs = Partition(features, runs, statistics, count)
    of_runs.merge_speakers()
    for partition in (of_groups, of_runs):
        partition.improve()
        partition.reassign_minor_speakers(LEAST_SPOKEN * features.seconds.sum())

    def preference(partition: Partition) -> tuple[int, float]:
        """Rank the number asked for first, which runs that have to be of one speaker may leave too few groups for."""
        return min(partition.speakers, count.least), partition.log_probability()

    return max(of_groups, of_runs, key=preference).labels


def _beginnings(features: RunFeatures, count: SpeakerCount, apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both initial partitions, clusters cut finer than speakers and single runs, ``[run]`` each."""
    unit, seconds, constraints = unit_vectors(features.embeddings), features.seconds, features.constraints
    center = np.average(unit, axis=0, weights=seconds) if len(unit) > 1 else 0.0
    unit -= center  # in place: a recording of hours has thousands of runs
    few = SpeakerCount(count.least, max(count.least, MOST_GROUPS))
    cluster = partial(cluster_speakers, unit, seconds, cannot_link=constraints.cannot_link, count=few)
    groups = cluster(must_link=constraints.must_link, threshold=apart, least_share=LEAST_GROUP)
    return groups, cluster(must_link=NO_PAIR, threshold=0.0, long_enough=0.0)
