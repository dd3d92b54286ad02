"""Average-linkage clustering of embeddings without a distance matrix.

The mean cosine distance of two groups of unit vectors is one less the product of their means. So a group is known by
the sum of its vectors, and its distances from all others are a product of a matrix and a vector, which is all that
chains of nearest neighbors (Murtagh, "A survey of recent advances in hierarchical clustering algorithms", The Computer
Journal, 1983) ask for: the tree is the matrix's, the memory that of the embeddings.
"""

import numpy as np

from septool.conversation.constraints import Pairs

ROUNDING = 1e-12  # that distances may differ by, taken from one end or the other


def partners(pairs: Pairs, size: int) -> list[set[int]]:
    """Return for each place of a list those that it makes a pair with; a pair of one place counts for nothing."""
    found: list[set[int]] = [set() for _ in range(size)]
    for one, other in pairs.tolist():
        if one != other:
            found[one].add(other)
            found[other].add(one)
    return found


def average_linkage(vectors: np.ndarray, apart: list[set[int]], distance_apart: float) -> np.ndarray:
    """Grow the tree of average linkage on cosine distance.

    Args:
        vectors: of length one, or zero, ``[vector, dimension]``; at least two.
        apart: for each, those from which its distance is another than that by the cosine.
        distance_apart: which one, larger than cosine distances are.

    Returns:
        The tree as :func:`scipy.cluster.hierarchy.linkage` gives it, ``[vector - 1, 4]``.
    """
    groups = _Groups(vectors, apart, distance_apart)
    merges: list[tuple[int, int, float]] = []
    chain: list[int] = []
    steps: list[float] = []  # distance from each in the chain to the next
    while len(merges) < len(vectors) - 1:
        chain = chain or [0]
        distances = groups.distances(chain[-1])
        nearest = int(distances.argmin())
        if not steps or distances[nearest] < steps[-1] - ROUNDING:
            chain.append(nearest)
            steps.append(float(distances[nearest]))
            continue
        # The last two are nearest to each other, or as near as any: steps that only shrink cannot go in circles.
        one, other = chain.pop(), chain.pop()
        merges.append((groups.founder[one], groups.founder[other], steps.pop()))
        if steps:
            steps.pop()
        moved = groups.merge(one, other)
        chain = [one if place == moved else place for place in chain]
    return _sorted_tree(merges)


class _Groups:
    """Groups that are left, in the first ``left`` places."""

    def __init__(self, vectors: np.ndarray, apart: list[set[int]], distance_apart: float) -> None:
        self.left = len(vectors)
        self.sums = vectors.astype(np.float64)
        self.counts = np.ones(self.left)
        self.founder = list(range(self.left))  # one of the vectors of each
        # What pairs that are apart add to the sum of the distances between two groups.
        self.extra = [
            {other: distance_apart - 1 + float(self.sums[one] @ self.sums[other]) for other in others}
            for one, others in enumerate(apart)
        ]

    def distances(self, group: int) -> np.ndarray:
        """Return those from a group to each that is left; to itself it is infinite."""
        counts = self.counts[: self.left]
        found = 1 - self.sums[: self.left] @ (self.sums[group] / self.counts[group]) / counts
        if self.extra[group]:
            others = np.array(list(self.extra[group]))
            found[others] += np.array(list(self.extra[group].values())) / (self.counts[group] * counts[others])
        found = np.maximum(found, 0.0)  # rounding
        found[group] = np.inf
        return found

    def merge(self, gone: int, kept: int) -> int:
        """Make one group of two in the place of ``kept``, and move the last group to where the other was.

        Returns:
            The place of the last group so far.
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
    """Number the groups of a tree in the order of their distances."""
    size = len(merges) + 1
    parent, count = list(range(2 * size - 1)), [1] * size

    def root(group: int) -> int:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    tree = np.empty((size - 1, 4))
    for number, (one, other, distance) in enumerate(sorted(merges, key=lambda merge: merge[2])):
        first, second = sorted((root(one), root(other)))
        parent[first] = parent[second] = size + number
        count.append(count[first] + count[second])
        tree[number] = first, second, distance, count[-1]
    return tree
