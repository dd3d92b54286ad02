"""Average-linkage clustering of embeddings without a distance matrix.

The mean cosine distance between two clusters of unit vectors is one minus the inner product of their means. A cluster
is therefore represented by the sum of its vectors, and its distances to all others are a matrix-vector product, which
is all that the nearest-neighbor chain algorithm needs (Murtagh, "A survey of recent advances in hierarchical clustering
algorithms", The Computer Journal, 1983). The tree equals that from a distance matrix; memory is linear in the number of
embeddings.
"""

import numpy as np

from septool.conversation.constraints import Pairs

ROUNDING = 1e-12  # by which the distance from a to b may differ from that from b to a


def partners(pairs: Pairs, size: int) -> list[set[int]]:
    """Return the indices that each index is paired with; pairs of an index with itself are ignored."""
    partners_of: list[set[int]] = [set() for _ in range(size)]
    for first, second in pairs.tolist():
        if first != second:
            partners_of[first].add(second)
            partners_of[second].add(first)
    return partners_of


def average_linkage(vectors: np.ndarray, apart: list[set[int]], distance_apart: float) -> np.ndarray:
    """Build the average-linkage tree on cosine distance.

    Args:
        vectors: unit vectors, or zero, ``[vector, dimension]``; at least two.
        apart: for each vector, those at ``distance_apart`` from it instead of the cosine distance.
        distance_apart: larger than any cosine distance.

    Returns:
        The tree as :func:`scipy.cluster.hierarchy.linkage` gives it, ``[vector - 1, 4]``.
    """
    groups = _Groups(vectors, apart, distance_apart)
    merges: list[tuple[int, int, float]] = []
    chain: list[int] = []
    steps: list[float] = []  # distance from each cluster in the chain to the next
    while len(merges) < len(vectors) - 1:
        chain = chain or [0]
        distances = groups.distances(chain[-1])
        nearest = int(distances.argmin())
        if not steps or distances[nearest] < steps[-1] - ROUNDING:
            chain.append(nearest)
            steps.append(float(distances[nearest]))
            continue
        # The last two are mutual nearest neighbors, up to ties: distances along the chain only shrink.
        first, second = chain.pop(), chain.pop()
        merges.append((groups.founder[first], groups.founder[second], steps.pop()))
        if steps:
            steps.pop()
        moved = groups.merge(first, second)
        chain = [first if cluster == moved else cluster for cluster in chain]
    return _sorted_tree(merges)


class _Groups:
    """The remaining clusters, in the first ``left`` rows."""

    def __init__(self, vectors: np.ndarray, apart: list[set[int]], distance_apart: float) -> None:
        self.left = len(vectors)
        self.sums = vectors.astype(np.float64)
        self.counts = np.ones(self.left)
        self.founder = list(range(self.left))  # one vector of each cluster
        # What cannot-link pairs add to the sum of the distances between two clusters.
        self.extra = [
            {other: distance_apart - 1 + float(self.sums[vector] @ self.sums[other]) for other in others}
            for vector, others in enumerate(apart)
        ]

    def distances(self, group: int) -> np.ndarray:
        """Return the distances from a cluster to each remaining one; infinite to itself."""
        counts = self.counts[: self.left]
        distances = 1 - self.sums[: self.left] @ (self.sums[group] / self.counts[group]) / counts
        if self.extra[group]:
            others = np.array(list(self.extra[group]))
            distances[others] += np.array(list(self.extra[group].values())) / (self.counts[group] * counts[others])
        distances = np.maximum(distances, 0.0)  # rounding errors
        distances[group] = np.inf
        return distances

    def merge(self, gone: int, kept: int) -> int:
        """Merge two clusters into ``kept``, and move the last cluster to the row of the other.

        Returns:
            The row that the last cluster had.
        """
        self.sums[kept] += self.sums[gone]
        self.counts[kept] += self.counts[gone]
        for other, more in self.extra[gone].items():
            del self.extra[other][gone]
            if other != kept:
                self.extra[kept][other] = self.extra[other][kept] = self.extra[kept].get(other, 0.0) + more
        self.left = last = self.left - 1
        if gone != last:
            self.sums[gone], self.counts[gone] = self.sums[last], self.counts[last]
            self.founder[gone], self.extra[gone] = self.founder[last], self.extra[last]
            for other in self.extra[gone]:
                self.extra[other][gone] = self.extra[other].pop(last)
        return last


def _sorted_tree(merges: list[tuple[int, int, float]]) -> np.ndarray:
    """Sort the merges of a tree by distance and number its clusters accordingly."""
    size = len(merges) + 1
    parent, count = list(range(2 * size - 1)), [1] * size

    def root(group: int) -> int:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    tree = np.empty((size - 1, 4))
    for number, (left, right, distance) in enumerate(sorted(merges, key=lambda merge: merge[2])):
        first, second = sorted((root(left), root(right)))
        parent[first] = parent[second] = size + number
        count.append(count[first] + count[second])
        tree[number] = first, second, distance, count[-1]
    return tree
