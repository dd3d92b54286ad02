"""Trees of average linkage: those that scipy grows from the matrix of distances."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, is_valid_linkage, linkage
from scipy.spatial.distance import squareform

from septool.conversation.average_linkage import average_linkage, partners

APART = 4.0


def grow_from_matrix(vectors: np.ndarray, apart: list[set[int]]) -> np.ndarray:
    distance = 1 - vectors @ vectors.T
    for one, others in enumerate(apart):
        distance[one, list(others)] = APART
    np.fill_diagonal(distance, 0.0)
    return linkage(squareform(distance, checks=False), "average")


@pytest.mark.parametrize("size", [2, 3, 10, 150])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_the_tree_is_that_of_the_matrix(size: int, share: float) -> None:
    rng = np.random.default_rng(size)
    vectors = rng.standard_normal((size, 8)) + 2 * np.repeat(rng.standard_normal((2, 8)), size, axis=0)[::2][:size]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = partners(np.argwhere(np.triu(rng.random((size, size)) < share, 1)), size)
    tree, expected = average_linkage(vectors, apart, APART), grow_from_matrix(vectors, apart)
    assert is_valid_linkage(tree)
    np.testing.assert_allclose(tree[:, 2], expected[:, 2], atol=1e-12)
    for count in range(1, size + 1) if share < 1 else ():  # where all are as far apart any order is right
        one, other = (fcluster(each, count, "maxclust") for each in (tree, expected))
        assert len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one.tolist()))


def test_equal_vectors_and_zeros_come_to_an_end() -> None:
    vectors = np.vstack((np.tile([0.6, 0.8, 0.0], (40, 1)), np.zeros((20, 3)), np.tile([0.0, 0.6, 0.8], (40, 1))))
    tree = average_linkage(vectors, [set() for _ in vectors], APART)
    assert is_valid_linkage(tree)
    labels = fcluster(tree, 0.3, "distance")
    assert len(set(labels[:40])) == len(set(labels[60:])) == 1
    assert labels[0] != labels[60]


def test_partners_go_both_ways_and_nobody_is_their_own() -> None:
    assert partners(np.array([[0, 2], [2, 0], [1, 1]]), 4) == [{2}, set(), {0}, set()]
    assert partners(np.zeros((0, 2), dtype=int), 2) == [set(), set()]
