"""Partition: merges and moves that make it more probable, by voices and by what is known of pairs of runs."""

from collections.abc import Callable

import numpy as np
import pytest

from septool.conversation.constraints import Constraints
from septool.conversation.partition import Partition
from septool.conversation.run_features import RunFeatures
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount
from septool.conversation.statistics import CAMPPLUS

NO_PAIR = np.zeros((0, 2), dtype=int)
FREE = Constraints(NO_PAIR, NO_PAIR, NO_PAIR)
PAIR = np.array([[0, 1]])


def turned(*angles: float) -> np.ndarray:
    """Return vectors of length one in a plane, by angles in rad."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def improved(
    unit: np.ndarray,
    seconds: float,
    constraints: Constraints = FREE,
    *,
    overlap: float = 0.0,
    count: SpeakerCount = ANY_COUNT,
) -> list[int]:
    size = len(unit)
    features = RunFeatures(unit, np.full(size, seconds), np.full(size, overlap), constraints)
    partition = Partition(features, np.arange(size), CAMPPLUS, count)
    partition.improve()
    return partition.labels.tolist()


def test_what_differs_by_chance_when_little_is_said_is_two_people_when_much_is() -> None:
    unit = np.repeat(turned(0.0, 1.1), 4, axis=0)
    assert improved(unit, 0.3) == [0] * 8
    assert improved(unit, 6.0) == [0] * 4 + [1] * 4
    assert improved(unit, 6.0, overlap=1.0) == [0] * 8


def test_two_at_once_are_two_people_and_a_number_is_kept() -> None:
    unit = turned(0.0, 0.3)
    assert improved(unit, 1.0) == [0, 0]
    assert improved(unit, 1.0, FREE._replace(cannot_link=PAIR)) == [0, 1]
    assert improved(unit, 1.0, FREE._replace(cannot_link=PAIR), count=SpeakerCount(1, 1)) == [0, 0]
    assert improved(unit, 1.0, count=SpeakerCount(2, 2)) == [0, 1]


@pytest.mark.parametrize("improve", [Partition.merge_speakers, Partition.move_runs])
def test_each_step_makes_the_partition_more_probable(improve: Callable[[Partition], object]) -> None:
    random = np.random.default_rng(0)
    unit = turned(*(np.repeat([0.0, 1.5], 6) + 0.2 * random.standard_normal(12)))
    labels = np.array([0, 1, 0, 1, 0, 2, 2, 2, 3, 3, 3, 1])
    partition = Partition(RunFeatures(unit, np.full(12, 3.0), np.zeros(12), FREE), labels, CAMPPLUS)
    before = partition.log_probability()
    improve(partition)
    assert partition.log_probability() > before


def test_who_says_little_is_reassigned_unless_there_would_be_too_few() -> None:
    features = RunFeatures(turned(0.0, 0.1, 1.5), np.array([9.0, 9.0, 1.0]), np.zeros(3), FREE)
    for count, expected in ((ANY_COUNT, [0, 0, 0]), (SpeakerCount(2, 2), [0, 0, 1])):
        partition = Partition(features, np.array([0, 0, 1]), CAMPPLUS, count)
        partition.reassign_minor_speakers(2.0)
        assert partition.labels.tolist() == expected
