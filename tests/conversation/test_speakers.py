"""Who speakers are: runs asked again, those who differ by chance alone, and a number that is known."""

import numpy as np
import pytest

from septool.conversation.constraints import Constraints
from septool.conversation.run_features import RunFeatures
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount
from septool.conversation.speakers import find_speakers
from septool.conversation.statistics import CAMPPLUS

NO_PAIR = np.zeros((0, 2), dtype=int)
FREE = Constraints(NO_PAIR, NO_PAIR, NO_PAIR)


def find(
    embeddings: np.ndarray, seconds: np.ndarray, constraints: Constraints = FREE, *, count: SpeakerCount = ANY_COUNT
) -> np.ndarray:
    """Return who speaks in each run, where nobody overlaps."""
    features = RunFeatures(embeddings, seconds, np.zeros(len(seconds)), constraints)
    return find_speakers(features, statistics=CAMPPLUS, count=count)


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
    embeddings, truth = voices(*counts, alike=0.05, spread=0.5)
    found = find(embeddings, np.full(len(truth), 3.0))
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("runs", [24, 120, 600])
def test_moods_of_a_person_are_not_people_however_long_they_talk(runs: int) -> None:
    embeddings, truth = voices(runs, runs, alike=0.05, spread=0.3)
    moods, _ = voices(runs // 3, runs // 3, runs - 2 * (runs // 3), alike=0.0, spread=0.0, seed=1)
    embeddings += 0.5 * np.concatenate((moods, moods[::-1]))
    found = find(embeddings, np.full(len(truth), 3.0))
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_a_number_that_is_asked_for_is_kept(wanted: int) -> None:
    embeddings, _ = voices(6, 6, alike=0.3, spread=0.4)
    found = find(embeddings, np.full(12, 3.0), count=SpeakerCount(wanted, wanted))
    assert found.max() + 1 == wanted


@pytest.mark.parametrize("wanted", [2, 3])
def test_a_number_that_is_asked_for_is_kept_where_runs_hang_together(wanted: int) -> None:
    embeddings, _ = voices(4, 4, alike=0.3, spread=0.4)
    together = np.array([[0, 1], [1, 2], [2, 3], [4, 5], [5, 6], [6, 7]])
    found = find(embeddings, np.full(8, 3.0), FREE._replace(must_link=together), count=SpeakerCount(wanted, wanted))
    assert found.max() + 1 == wanted


def test_a_number_that_is_asked_for_is_not_made_up_of_stray_runs() -> None:
    embeddings, truth = voices(6, 6, alike=0.6, spread=0.2)
    stray = voices(1, 1, 1, alike=0.0, spread=0.0, seed=1)[0][-1:]  # so unlike both that it is cut off before they are
    found = find(np.vstack((embeddings, stray)), np.array([9.0] * 12 + [1.5]), count=SpeakerCount(2, 2))
    np.testing.assert_array_equal(found[:-1], truth)


def test_a_run_on_the_wrong_branch_of_the_tree_goes_to_whom_it_goes_on_from() -> None:
    embeddings, truth = voices(8, 8, alike=0.3, spread=0.3)
    between = embeddings[:8].mean(0) + 1.05 * embeddings[8:].mean(0)  # a little nearer to the second person
    embeddings = np.insert(embeddings, 8, between, axis=0)
    seconds = np.insert(np.full(16, 3.0), 8, 0.4)
    expected = [*truth[:8], 0, *truth[8:]]
    assert find(embeddings, seconds)[8] == 1
    assert find(embeddings, seconds, FREE._replace(follow=np.array([[7, 8]]))).tolist() == expected


def test_nothing_and_one_are_no_exceptions() -> None:
    assert find(np.zeros((0, 8)), np.zeros(0)).shape == (0,)
    assert find(np.ones((1, 8)), np.ones(1)).tolist() == [0]
    assert find(np.zeros((2, 8)), np.ones(2)).shape == (2,)
