"""Who speakers are: runs asked again, those who differ by chance alone, and a number that is known."""

import numpy as np
import pytest

from septool.conversation.constraints import Constraints
from septool.conversation.people import SpeakerCount
from septool.conversation.speakers import find_speakers, join_alike, mean_voices

NO_PAIR = np.zeros((0, 2), dtype=int)
FREE = Constraints(NO_PAIR, NO_PAIR, NO_PAIR)


def voices(*counts: int, alike: float, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings of so many runs of each of several people, and who each is of.

    Args:
        counts: of runs.
        alike: cosine of any two people.
        spread: of a run about its person's voice, of length one.
        seed: of chance.
    """
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.standard_normal((32, len(counts) + 1)))[0].T
    centers = np.sqrt(alike) * axes[0] + np.sqrt(1 - alike) * axes[1:]
    truth = np.repeat(np.arange(len(counts)), counts)
    return centers[truth] + spread * random.standard_normal((len(truth), 32)) / np.sqrt(32), truth


@pytest.mark.parametrize("counts", [(20, 2), (30, 3), (12, 12), (20, 3, 3), (8, 8, 8, 8)])
def test_people_are_found_beside_one_who_talks_most_of_the_time(counts: tuple[int, ...]) -> None:
    embeddings, truth = voices(*counts, alike=0.3, spread=0.4)
    found = find_speakers(embeddings, np.full(len(truth), 3.0), FREE)
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_a_number_that_is_asked_for_is_kept(wanted: int) -> None:
    embeddings, _ = voices(6, 6, alike=0.3, spread=0.4)
    found = find_speakers(embeddings, np.full(12, 3.0), FREE, count=SpeakerCount(wanted, wanted))
    assert found.max() + 1 == wanted


def test_a_number_that_is_asked_for_is_not_made_up_of_stray_runs() -> None:
    embeddings, truth = voices(6, 6, alike=0.6, spread=0.2)
    stray = voices(1, 1, 1, alike=0.0, spread=0.0, seed=1)[0][-1:]  # so unlike both that it is cut off before they are
    found = find_speakers(np.vstack((embeddings, stray)), np.array([9.0] * 12 + [1.5]), FREE, count=SpeakerCount(2, 2))
    np.testing.assert_array_equal(found[:-1], truth)


def test_too_many_people_are_joined_by_how_alike_they_are_and_at_once_means_two_as_long_as_it_can() -> None:
    angles = np.array([0.0, 0.6, 1.4])  # rad
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    seconds, truth = np.full(3, 60.0), np.arange(3)
    assert join_alike(unit, seconds, truth, FREE).tolist() == [0, 1, 2]
    assert join_alike(unit, seconds, truth, FREE, SpeakerCount(1, 2)).tolist() == [0, 0, 1]
    apart = FREE._replace(cannot_link=np.array([[0, 1]]))
    assert join_alike(unit, seconds, truth, apart, SpeakerCount(1, 2)).tolist() == [0, 1, 1]
    assert join_alike(unit, seconds, truth, apart, SpeakerCount(1, 1)).tolist() == [0, 0, 0]


def test_a_run_on_the_wrong_branch_of_the_tree_goes_to_whom_it_goes_on_from() -> None:
    embeddings, truth = voices(8, 8, alike=0.3, spread=0.3)
    between = embeddings[:8].mean(0) + 1.05 * embeddings[8:].mean(0)  # a little nearer to the second person
    embeddings = np.insert(embeddings, 8, between, axis=0)
    seconds = np.insert(np.full(16, 3.0), 8, 0.4)
    expected = [*truth[:8], 0, *truth[8:]]
    assert find_speakers(embeddings, seconds, FREE)[8] == 1
    assert find_speakers(embeddings, seconds, FREE._replace(follow=np.array([[7, 8]]))).tolist() == expected


def test_who_differs_by_as_much_as_chance_is_one_person_when_little_is_said() -> None:
    unit, truth = voices(1, 1, alike=0.8, spread=0.0)
    assert join_alike(unit, np.array([3.0, 3.0]), truth, FREE).tolist() == [0, 0]
    assert join_alike(unit, np.array([30.0, 3.0]), truth, FREE).tolist() == [0, 0]
    assert join_alike(unit, np.array([30.0, 30.0]), truth, FREE).tolist() == [0, 1]


def test_who_speaks_at_once_or_was_asked_for_is_not_joined() -> None:
    unit, truth = voices(1, 1, alike=0.99, spread=0.0)
    seconds = np.array([3.0, 3.0])
    assert join_alike(unit, seconds, truth, FREE._replace(cannot_link=np.array([[0, 1]]))).tolist() == [0, 1]
    assert join_alike(unit, seconds, truth, FREE, SpeakerCount(2, 2)).tolist() == [0, 1]
    assert join_alike(unit, seconds, truth, FREE).tolist() == [0, 0]


def test_the_most_alike_are_joined_first_and_then_compared_anew() -> None:
    angles = np.array([0.0, 0.7, 1.0])  # rad; the last two are the nearest, and their mean is too far from the first
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert join_alike(unit, np.full(3, 7.0), np.arange(3), FREE).tolist() == [0, 1, 1]


def test_a_voice_is_the_mean_by_seconds() -> None:
    mean = mean_voices(np.eye(2), np.array([3.0, 4.0]), np.zeros(2, dtype=int))
    np.testing.assert_allclose(mean, [[0.6, 0.8]])


def test_nothing_and_one_are_no_exceptions() -> None:
    assert find_speakers(np.zeros((0, 8)), np.zeros(0), FREE).shape == (0,)
    assert find_speakers(np.ones((1, 8)), np.ones(1), FREE).tolist() == [0]
    assert find_speakers(np.zeros((2, 8)), np.ones(2), FREE).shape == (2,)
