"""Clustering of speaker embeddings, and whether a recording has a single speaker.

Agglomerative clustering with average linkage on the cosine distance of speaker embeddings, the usual last step of
diarization (e.g. Garcia-Romero et al., "Speaker diarization using deep neural network embeddings", ICASSP 2017).
What is known for certain goes in as distances: two voices at one moment are two people, and a voice that goes on from
one window to the next is one. The tree is cut at a distance that is a property of the speaker network, finer than
people are where :mod:`septool.conversation.partition` says who of the groups is one.
"""

import numpy as np
from scipy.cluster.hierarchy import fcluster
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from septool.conversation.average_linkage import average_linkage, partners
from septool.conversation.constraints import Pairs
from septool.conversation.people import ANY_COUNT, SpeakerCount

CANNOT_LINK = 4.0  # distance of two that are two people; cosine distances end at 2


def cluster_speakers(
    embeddings: np.ndarray,
    seconds: np.ndarray,
    *,
    cannot_link: Pairs,
    must_link: Pairs,
    threshold: float,
    count: SpeakerCount = ANY_COUNT,
    long_enough: float = 1.0,
    least_share: float = 0.0,
) -> np.ndarray:
    """Give every stretch of speech the number of its speaker.

    The tree is grown of stretches that are long enough to be told by; the others then join the nearest speaker with
    whom they are not known to differ.

    Args:
        embeddings: what each stretch sounds like, ``[stretch, embedding]``, of any length.
        seconds: of speech in each, ``[stretch]``.
        cannot_link: pairs that are two people, ``[pair, 2]``.
        must_link: pairs that are one person, ``[pair, 2]``, unless they are two.
        threshold: mean cosine distance from which two groups are two people.
        count: how many people there may be.
        long_enough: seconds of speech from which a stretch may found a speaker.
        least_share: part of all speech that a speaker has at least, unless there would be too few of them.

    Returns:
        Speakers from 0, in the order of their first stretch, ``[stretch]``.
    """
    if not len(embeddings):
        return np.zeros(0, dtype=int)
    groups = _join(must_link, partners(cannot_link, len(embeddings)))
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    length = np.array([seconds[own].sum() for own in members])
    # Hours have thousands of stretches: no copy of all their embeddings is made that can be done without.
    mean = np.empty((len(members), embeddings.shape[1]), dtype=embeddings.dtype)
    for own, voice in zip(members, mean, strict=True):
        voice[:] = seconds[own] @ unit_vectors(embeddings[own])
    mean = unit_vectors(mean)
    apart = partners(groups[cannot_link], len(members))
    founders = np.flatnonzero(length >= long_enough)
    if len(founders) < count.least:  # whatever there is has to do
        founders = np.sort(np.argsort(-length, kind="stable")[: max(count.least, 1)])
    labels = np.full(len(members), -1)
    place = {group: number for number, group in enumerate(founders.tolist())}
    apart_founders = [{place[other] for other in apart[group] if other in place} for group in place]
    founding = mean if len(founders) == len(mean) else mean[founders]
    labels[founders] = _cut(founding, apart_founders, threshold, count)
    voices = _Voices(labels, mean, length, apart)
    voices.reassign_minor_speakers(least=least_share * length.sum(), keep=count.least)
    for group in np.argsort(-length, kind="stable").tolist():
        if labels[group] < 0:
            voices.join_nearest(group)
    return number_speakers(labels[groups])


def is_one_voice(embeddings: np.ndarray, seconds: np.ndarray, *, threshold: float, long_enough: float = 1.0) -> bool:
    """Say whether all stretches of speech are of one person, by how much the two least alike groups of them differ.

    The mean of a recording cannot be taken away to tell this: of one person's embeddings it leaves what differs by
    chance, which is in all directions.

    Args:
        embeddings: what each stretch sounds like, ``[stretch, embedding]``.
        seconds: of speech in each, ``[stretch]``.
        threshold: mean cosine distance from which two groups are not of one person.
        long_enough: seconds of speech from which a stretch counts.
    """
    heard = embeddings[seconds >= long_enough]
    if len(heard) < 2:
        return True
    unit = unit_vectors(heard)
    return bool(average_linkage(unit, [set()] * len(unit), CANNOT_LINK)[-1, 2] < threshold)


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Return vectors ``[vector, dimension]`` of length one; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def number_speakers(labels: np.ndarray) -> np.ndarray:
    """Number speakers from 0 in the order of their first stretch, ``[stretch]``."""
    order = {name: place for place, name in enumerate(dict.fromkeys(labels.tolist()))}
    return np.array([order[name] for name in labels.tolist()], dtype=int)


def _join(must_link: Pairs, cannot_link: list[set[int]]) -> np.ndarray:
    """Number the groups that are one person each for certain, ``[stretch]``."""
    size = len(cannot_link)
    joined = np.array([pair for pair in must_link.tolist() if pair[1] not in cannot_link[pair[0]]]).reshape(-1, 2)
    graph = coo_array((np.ones(len(joined)), joined.T), shape=(size, size))
    return connected_components(graph, directed=False)[1]


def _cut(mean: np.ndarray, apart: list[set[int]], threshold: float, count: SpeakerCount) -> np.ndarray:
    """Grow the tree and cut it."""
    if len(mean) == 1:
        return np.zeros(1, dtype=int)
    tree = average_linkage(mean, apart, CANNOT_LINK)
    labels = fcluster(tree, threshold, "distance")
    if not count.least <= labels.max() <= count.most:
        wanted = min(max(int(labels.max()), count.least), count.most)
        labels = fcluster(tree, min(wanted, len(mean)), "maxclust")
    return labels - 1


class _Voices:
    """What speakers sound like: the sum of the embeddings of those who are theirs, as long as they speak."""

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
        """Give what the least heard speakers have said to the others, until everybody left has said enough."""
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
        """Give a group to the speaker who sounds most like it, of those that it is not known to differ from."""
        left = np.flatnonzero(self.members)
        likeness = self.sums[left] @ self.mean[group] / np.maximum(np.linalg.norm(self.sums[left], axis=1), 1e-12)
        known = {int(self.labels[other]) for other in self.apart[group]}
        differs = np.array([name in known for name in left.tolist()])
        self._add(group, left[np.argmax(np.where(differs, likeness - CANNOT_LINK, likeness))])
