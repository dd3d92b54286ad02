"""Clustering: the number of people, what is known for certain, and who joins whom."""

from typing import Any

import numpy as np
import pytest

from septool.conversation.clustering import cluster_speakers, is_one_voice
from septool.conversation.speaker_count import SpeakerCount


def people(*counts: int, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings of so many excerpts of each of several people, and who each is of."""
    random = np.random.default_rng(seed)
    centers = np.linalg.qr(random.standard_normal((16, len(counts))))[0].T
    truth = np.repeat(np.arange(len(counts)), counts)
    return centers[truth] + spread * random.standard_normal((len(truth), 16)) / 4, truth


def cluster(embeddings: np.ndarray, seconds: np.ndarray | None = None, **settings: Any) -> np.ndarray:
    size = len(embeddings)
    none = np.zeros((0, 2), dtype=int)
    given = {"cannot_link": none, "must_link": none, "threshold": 0.5} | settings
    return cluster_speakers(embeddings, np.full(size, 2.0) if seconds is None else seconds, **given)


@pytest.mark.parametrize("counts", [(5,), (4, 3), (6, 1, 3), (2, 2, 2, 2, 2)])
def test_the_number_of_people_is_found(counts: tuple[int, ...]) -> None:
    embeddings, truth = people(*counts)
    np.testing.assert_array_equal(cluster(embeddings), truth)


def test_people_are_numbered_by_their_first_excerpt() -> None:
    embeddings, truth = people(3, 3)
    np.testing.assert_array_equal(cluster(embeddings[::-1]), 1 - truth[::-1])


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_a_number_that_is_asked_for_is_kept(wanted: int) -> None:
    embeddings, _ = people(4, 4)
    assert cluster(embeddings, count=SpeakerCount(wanted, wanted)).max() + 1 == wanted


def test_two_at_once_are_two_people_however_alike() -> None:
    embeddings = np.ones((4, 16)) + 1e-3 * np.random.default_rng(0).standard_normal((4, 16))
    labels = cluster(embeddings, cannot_link=np.array([[0, 1]]))
    assert labels[0] != labels[1]


def test_one_that_goes_on_is_one_person_however_different() -> None:
    embeddings, _ = people(1, 1)
    assert cluster(embeddings).tolist() == [0, 1]
    linked = np.array([[0, 1]])
    assert cluster(embeddings, must_link=linked).tolist() == [0, 0]
    assert cluster(embeddings, must_link=linked, cannot_link=linked).tolist() == [0, 1]


def test_a_short_excerpt_founds_no_speaker_but_joins_one_who_is_free() -> None:
    embeddings, _ = people(3, 3, 1)
    seconds = np.array([2.0] * 6 + [0.3])
    assert cluster(embeddings, seconds)[-1] in (0, 1)
    near = np.vstack((embeddings[:6], embeddings[0]))
    cannot = np.array([[0, 6], [6, 1], [2, 6]])  # it sounds like the first person, who speaks at the same time
    assert cluster(near, seconds)[-1] == 0
    assert cluster(near, seconds, cannot_link=cannot)[-1] == 1


def test_a_speaker_of_next_to_nothing_is_reassigned_unless_asked_for() -> None:
    embeddings, _ = people(5, 5, 1)
    seconds = np.array([10.0] * 10 + [1.0])
    assert cluster(embeddings, seconds, least_share=0.03).max() == 1
    assert cluster(embeddings, seconds, least_share=0.03, count=SpeakerCount(3, 3)).max() == 2


def test_nothing_and_one_are_no_exceptions() -> None:
    assert cluster(np.zeros((0, 16))).shape == (0,)
    assert cluster(np.ones((1, 16))).tolist() == [0]
    assert cluster(np.zeros((2, 16))).shape == (2,)  # embeddings of runs too short to have any


def test_one_voice_is_told_from_two_by_embeddings_as_they_are() -> None:
    one, _ = people(6)
    two, _ = people(3, 3)
    seconds = np.full(6, 2.0)
    assert is_one_voice(one, seconds, threshold=0.2)
    assert not is_one_voice(two, seconds, threshold=0.2)
    short = np.array([2.0, 2.0, 2.0, 0.5, 0.5, 0.5])  # too short to say that there is somebody else
    assert is_one_voice(two, short, threshold=0.2)
    assert is_one_voice(np.zeros((0, 16)), np.zeros(0), threshold=0.2)
