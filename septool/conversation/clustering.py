"""Clustering of speaker embeddings, and whether a recording has a single speaker.

Agglomerative clustering with average linkage on the cosine distance of speaker embeddings, the usual last step of
diarization (e.g. Garcia-Romero et al., "Speaker diarization using deep neural network embeddings", ICASSP 2017).
Certain constraints enter as distances: two simultaneous voices are two speakers, and a voice that continues from one
window to the next is one speaker. The tree is cut at a distance that depends on the speaker network; where
:mod:`septool.conversation.partition` merges the clusters afterwards, it is cut finer than speakers.
"""

import numpy as np
from scipy.cluster.hierarchy import fcluster
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from septool.conversation.average_linkage import average_linkage, partners
from septool.conversation.constraints import Pairs
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount

LONG_ENOUGH_S = 1.0  # least speech of a segment that can be another voice
CANNOT_LINK = 4.0  # distance between segments of different speakers; the largest cosine distance is 2


def cluster_speakers(
    embeddings: np.ndarray,
    seconds: np.ndarray,
    *,
    cannot_link: Pairs,
    must_link: Pairs,
    threshold: float,
    count: SpeakerCount = ANY_COUNT,
    long_enough: float = LONG_ENOUGH_S,
    least_share: float = 0.0,
) -> np.ndarray:
    """Assign a speaker number to each segment.

    The tree is built from segments with enough speech; each of the others then joins the nearest speaker that no
    constraint forbids.

    Args:
        embeddings: speaker embedding of each segment, ``[segment, embedding]``, of any norm.
        seconds: duration of speech in each segment, ``[segment]``.
        cannot_link: pairs of segments of different speakers, ``[pair, 2]``.
        must_link: pairs of segments of the same speaker, ``[pair, 2]``; ``cannot_link`` takes precedence.
        threshold: mean cosine distance from which two clusters are different speakers.
        count: allowed number of speakers.
        long_enough: seconds of speech from which a segment may found a speaker.
        least_share: minimum fraction of all speech per speaker, unless too few speakers would remain.

    Returns:
        Speakers from 0, in the order of their first segment, ``[segment]``.
    """
    if not len(embeddings):
        return np.zeros(0, dtype=int)
    groups = _join(must_link, partners(cannot_link, len(embeddings)))
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    length = np.array([seconds[runs_of_group].sum() for runs_of_group in members])
    # A recording of hours has thousands of segments, so copies of all embeddings are avoided.
    mean = np.empty((len(members), embeddings.shape[1]), dtype=embeddings.dtype)
    for runs_of_group, voice in zip(members, mean, strict=True):
        voice[:] = seconds[runs_of_group] @ unit_vectors(embeddings[runs_of_group])
    mean = unit_vectors(mean)
    apart = partners(groups[cannot_link], len(members))
    founders = np.flatnonzero(length >= long_enough)
    if len(founders) < count.least:  # too few long segments: take the longest
        founders = np.sort(np.argsort(-length, kind="stable")[: max(count.least, 1)])
    labels = np.full(len(members), -1)
    index_of = {group: number for number, group in enumerate(founders.tolist())}
    apart_founders = [{index_of[other] for other in apart[group] if other in index_of} for group in index_of]
    founding = mean if len(founders) == len(mean) else mean[founders]
    labels[founders] = _cut(founding, apart_founders, threshold, count)
    voices = _Voices(labels, mean, length, apart)
    voices.reassign_minor_speakers(least=least_share * length.sum(), keep=count.least)
    for group in np.argsort(-length, kind="stable").tolist():
        if labels[group] < 0:
            voices.join_nearest(group)
    return number_speakers(labels[groups])


def is_one_voice(embeddings: np.ndarray, seconds: np.ndarray, *, threshold: float) -> bool:
    """Return whether all segments have one speaker, judged by the distance of the two most distant clusters.

    Do not mean-center the embeddings: with a single speaker only noise would remain.

    Args:
        embeddings: speaker embedding of each segment, ``[segment, embedding]``.
        seconds: duration of speech in each segment, ``[segment]``.
        threshold: mean cosine distance from which two clusters are different speakers.
    """
    long_enough = embeddings[seconds >= LONG_ENOUGH_S]
    if len(long_enough) < 2:
        return True
    unit = unit_vectors(long_enough)
    return bool(average_linkage(unit, [set()] * len(unit), CANNOT_LINK)[-1, 2] < threshold)


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors ``[vector, dimension]`` to unit norm; zero vectors stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def number_speakers(labels: np.ndarray) -> np.ndarray:
    """Number speakers from 0 in the order of their first segment, ``[segment]``."""
    order = {name: index for index, name in enumerate(dict.fromkeys(labels.tolist()))}
    return np.array([order[name] for name in labels.tolist()], dtype=int)


def _join(must_link: Pairs, cannot_link: list[set[int]]) -> np.ndarray:
    """Number the clusters that must-link constraints form, ``[segment]``."""
    size = len(cannot_link)
    joined = np.array([pair for pair in must_link.tolist() if pair[1] not in cannot_link[pair[0]]]).reshape(-1, 2)
    graph = coo_array((np.ones(len(joined)), joined.T), shape=(size, size))
    return connected_components(graph, directed=False)[1]


def _cut(mean: np.ndarray, apart: list[set[int]], threshold: float, count: SpeakerCount) -> np.ndarray:
    """Build the tree and cut it; return the cluster of each group."""
    if len(mean) == 1:
        return np.zeros(1, dtype=int)
    tree = average_linkage(mean, apart, CANNOT_LINK)
    labels = fcluster(tree, threshold, "distance")
    if not count.least <= labels.max() <= count.most:
        wanted = min(max(int(labels.max()), count.least), count.most)
        labels = fcluster(tree, min(wanted, len(mean)), "maxclust")
    return labels - 1


class _Voices:
    """Speaker centroids: the sum of the embeddings of each speaker's groups, weighted by their duration."""

    def __init__(self, labels: np.ndarray, mean: np.ndarray, length: np.ndarray, apart: list[set[int]]) -> None:
        self.labels, self.mean, self.length, self.apart = labels, mean, length, apart
        speakers = labels.max() + 1
        self.sums, self.spoken = np.zeros((speakers, mean.shape[1])), np.zeros(speakers)
        self.members = np.zeros(speakers, dtype=int)
        for group in np.flatnonzero(labels >= 0).tolist():
            self._add(group, labels[group])

    def _add(self, group: int, speaker: int) -> None:
        self.labels[group] = speaker
        self.sums[speaker] += self.mean[group] * self.length[group]
        self.spoken[speaker] += self.length[group]
        self.members[speaker] += 1

    def reassign_minor_speakers(self, *, least: float, keep: int) -> None:
        """Reassign the groups of the speaker with the least speech until each has at least ``least`` seconds."""
        while True:
            left = np.flatnonzero(self.members)
            name = left[self.spoken[left].argmin()]
            if len(left) <= keep or self.spoken[name] >= least:
                return
            gone = np.flatnonzero(self.labels == name)
            self.labels[gone] = -1
            self.sums[name], self.spoken[name], self.members[name] = 0.0, 0.0, 0
            for group in gone.tolist():
                self.join_nearest(group)

    def join_nearest(self, group: int) -> None:
        """Assign a group to the most similar speaker that no cannot-link constraint excludes."""
        left = np.flatnonzero(self.members)
        likeness = self.sums[left] @ self.mean[group] / np.maximum(np.linalg.norm(self.sums[left], axis=1), 1e-12)
        known = {int(self.labels[other]) for other in self.apart[group]}
        differs = np.array([name in known for name in left.tolist()])
        self._add(group, left[np.argmax(np.where(differs, likeness - CANNOT_LINK, likeness))])
