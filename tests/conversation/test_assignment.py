"""Assignment: a run is whose voice it has, unless what goes on around it says more."""

import numpy as np
import pytest

from septool.conversation.assignment import assign_runs
from septool.conversation.constraints import Constraints

VOICES = np.eye(3)
NO_PAIR = np.zeros((0, 2), dtype=int)
FREE = Constraints(NO_PAIR, NO_PAIR, NO_PAIR)
PAIR = np.array([[0, 1]])


def between(share: float) -> np.ndarray:
    """Return what is between the first two voices, the nearer to the second the larger the share."""
    vector = np.array([1 - share, share, 0.0])
    return vector / np.linalg.norm(vector)


def test_a_run_is_whose_voice_it_has() -> None:
    runs = np.stack([VOICES[2], between(0.2), between(0.8)])
    assert assign_runs(runs, np.ones(3), VOICES, FREE).tolist() == [2, 0, 1]


@pytest.mark.parametrize("kind", ["must_link", "follow"])
def test_a_short_run_that_goes_on_is_the_same_persons_and_a_long_one_its_own(kind: str) -> None:
    ties = FREE._replace(**{kind: PAIR})
    runs = np.stack([VOICES[0], between(0.52)])
    assert assign_runs(runs, np.array([3.0, 0.3]), VOICES, FREE).tolist() == [0, 1]
    assert assign_runs(runs, np.array([3.0, 0.3]), VOICES, ties).tolist() == [0, 0]
    assert assign_runs(np.stack([VOICES[0], VOICES[1]]), np.array([3.0, 3.0]), VOICES, ties).tolist() == [0, 1]


def test_two_at_once_are_not_the_same_person_and_the_clearer_one_decides() -> None:
    ties = FREE._replace(cannot_link=PAIR)
    runs = np.stack([between(0.4), between(0.1)])  # both sound like the first voice, the second run more so
    assert assign_runs(runs, np.ones(2), VOICES, FREE).tolist() == [0, 0]
    assert assign_runs(runs, np.ones(2), VOICES, ties).tolist() == [1, 0]


def test_a_run_too_short_to_have_a_voice_is_of_whom_it_goes_on_from() -> None:
    runs = np.stack([VOICES[1], np.zeros(3)])
    assert assign_runs(runs, np.array([1.0, 0.2]), VOICES, FREE._replace(follow=PAIR)).tolist() == [1, 1]


def test_nothing_is_nobodys() -> None:
    assert assign_runs(np.zeros((0, 3)), np.zeros(0), VOICES, FREE).shape == (0,)
