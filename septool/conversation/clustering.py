"""Speaker clustering: which stretches of speech are of one person, and how many people there are.

Agglomerative clustering with average linkage on the cosine distance of speaker embeddings, the usual last step of
diarization (e.g. Garcia-Romero et al., "Speaker diarization using deep neural network embeddings", ICASSP 2017).
What is known for certain goes in as distances: two voices at one moment are two people, and a voice that goes on from
one window to the next is one. The number of people is where the tree is cut: at a distance that is a property of the
speaker network, or so that the number asked for is left.
"""

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from septool.conversation.people import ANY_COUNT, SpeakerCount

CANNOT_LINK = 4.0  # distance of two that are two people; cosine distances end at 2


def cluster_speakers(
    embeddings: np.ndarray,
    seconds: np.ndarray,
    *,
    cannot_link: np.ndarray,
    must_link: np.ndarray,
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
        cannot_link: pairs that are two people, ``[stretch, stretch]``, symmetric.
        must_link: pairs that are one person, ``[stretch, stretch]``, symmetric.
        threshold: mean cosine distance from which two groups are two people.
        count: how many people there may be.
        long_enough: seconds of speech from which a stretch may found a speaker.
        least_share: part of all speech that a speaker has at least, unless there would be too few of them.

    Returns:
        Speakers from 0, in the order of their first stretch, ``[stretch]``.
    """
    if not len(embeddings):
        return np.zeros(0, dtype=int)
    groups = connected_components(must_link & ~cannot_link, directed=False)[1]
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    length = np.array([seconds[own].sum() for own in members])
    mean = np.stack([(unit[own] * seconds[own, None]).sum(0) for own in members])
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    apart = np.zeros((len(members), len(members)), dtype=bool)
    first, second = np.nonzero(cannot_link)
    apart[groups[first], groups[second]] = True
    np.fill_diagonal(apart, val=False)
    founders = np.flatnonzero(length >= long_enough)
    if len(founders) < count.least:  # whatever there is has to do
        founders = np.argsort(-length, kind="stable")[: max(count.least, 1)]
    labels = np.full(len(members), -1)
    labels[founders] = _cut(mean[founders], apart[np.ix_(founders, founders)], threshold, count)
    labels = _dissolve(labels, mean, length, apart, least=least_share * length.sum(), keep=count.least)
    for group in np.argsort(-length, kind="stable").tolist():
        if labels[group] < 0:
            labels[group] = _nearest(group, labels, mean, length, apart)
    return _numbered(labels[groups])


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
    unit = heard / np.maximum(np.linalg.norm(heard, axis=1, keepdims=True), 1e-12)
    distance = np.clip(1 - unit @ unit.T, 0.0, None)
    np.fill_diagonal(distance, 0.0)
    return bool(linkage(squareform(distance, checks=False), "average")[-1, 2] < threshold)


def _cut(mean: np.ndarray, apart: np.ndarray, threshold: float, count: SpeakerCount) -> np.ndarray:
    """Grow the tree and cut it."""
    if len(mean) == 1:
        return np.zeros(1, dtype=int)
    distance = np.where(apart, CANNOT_LINK, 1 - mean @ mean.T)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(np.clip(distance, 0.0, None), checks=False), "average")
    labels = fcluster(tree, threshold, "distance")
    if not count.least <= labels.max() <= count.most:
        wanted = min(max(int(labels.max()), count.least), count.most)
        labels = fcluster(tree, min(wanted, len(mean)), "maxclust")
    return labels - 1


def _dissolve(
    labels: np.ndarray, mean: np.ndarray, length: np.ndarray, apart: np.ndarray, *, least: float, keep: int
) -> np.ndarray:
    """Give what the least heard speakers have said to the others, until everybody left has said enough."""
    labels = labels.copy()
    while True:
        names = np.unique(labels[labels >= 0])
        spoken = np.array([length[labels == name].sum() for name in names])
        if len(names) <= keep or spoken.min() >= least:
            return labels
        gone = np.flatnonzero(labels == names[spoken.argmin()])
        labels[gone] = -1
        for group in gone.tolist():
            labels[group] = _nearest(group, labels, mean, length, apart)


def _nearest(group: int, labels: np.ndarray, mean: np.ndarray, length: np.ndarray, apart: np.ndarray) -> int:
    """Return the speaker who sounds most like a group, of those that it is not known to differ from."""
    names = np.unique(labels[labels >= 0])
    voices = np.stack([(mean[labels == name] * length[labels == name, None]).sum(0) for name in names])
    likeness = voices @ mean[group] / np.maximum(np.linalg.norm(voices, axis=1), 1e-12)
    differs = np.array([bool(apart[group, labels == name].any()) for name in names])
    return int(names[np.argmax(np.where(differs, likeness - CANNOT_LINK, likeness))])


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Number speakers in the order of their first stretch."""
    order = {name: place for place, name in enumerate(dict.fromkeys(labels.tolist()))}
    return np.array([order[name] for name in labels.tolist()])
