"""Scores of conversations, on ones that can be counted by hand."""

import numpy as np
import pytest

from septool.data.conversations import RenderedConversation
from septool.errors import SeptoolError
from septool.scoring.conversations import score_conversation
from septool.signal.turns import Turn

RATE = 1000


@pytest.fixture
def talk() -> RenderedConversation:
    """Ann from 0 to 3 s, bob from 2 to 5 s, noises of equal level."""
    random = np.random.default_rng(0)
    sources = random.standard_normal((2, 5 * RATE)).astype(np.float32)
    sources[0, 3 * RATE :] = 0
    sources[1, : 2 * RATE] = 0
    return RenderedConversation(sources.sum(0), sources, [Turn(0.0, 3.0, "ann"), Turn(2.0, 5.0, "bob")])


def scored(talk: RenderedConversation, turns: list[Turn], voices: np.ndarray, names: tuple[str, ...]):
    return score_conversation("a", talk, ("ann", "bob"), turns=turns, voices=voices, names=names, rate=RATE)


def test_the_true_voices_under_other_names_and_in_another_order(talk: RenderedConversation) -> None:
    noisy = talk.sources[::-1] + 0.01 * np.random.default_rng(1).standard_normal((2, 5 * RATE))
    turns = [Turn(2.0, 5.0, "x"), Turn(0.0, 3.0, "y")]
    scores = scored(talk, turns, noisy, ("x", "y"))
    assert (scores.der, scores.der_collar, scores.found) == (0.0, 0.0, 2)
    assert (scores.speech, scores.speech_collar) == pytest.approx((6.0, 4.0))
    assert scores.wrong_track < 5  # the noise, and what chance has of the other voice
    # 40 dB against the noise; before, a third of the time against somebody as loud
    assert scores.si_snri == pytest.approx((40 - 10 * np.log10(3),) * 2, abs=0.5)


def test_the_mixture_on_every_track_gains_nothing_and_is_half_wrong(talk: RenderedConversation) -> None:
    turns = [Turn(0.0, 3.0, "x"), Turn(2.0, 5.0, "y")]
    scores = scored(talk, turns, np.stack([talk.mixture] * 2), ("x", "y"))
    assert scores.si_snri == pytest.approx((0.0, 0.0), abs=1e-4)
    assert scores.wrong_track == pytest.approx(50.0, abs=1e-3)


def test_somebody_who_is_not_found_has_no_gain_and_is_missed(talk: RenderedConversation) -> None:
    scores = scored(talk, [Turn(0.0, 5.0, "x")], talk.mixture[None], ("x",))
    assert scores.found == 1
    assert sorted(gain is None for gain in scores.si_snri) == [False, True]
    assert scores.der == pytest.approx(100 * (1 + 2) / 6)  # a second of two is missed, two are somebody else's
    assert scores.row()["si_snri"] == scores.si_snri
    parts = scores.to_item().detections
    assert parts["missed-collar"] > 0
    assert sum(parts[f"{name}-collar"] for name in ("missed", "false-alarm", "confusion")) == pytest.approx(
        parts["der-collar"]
    )


def test_where_nobody_is_found_all_of_the_voices_are_lost(talk: RenderedConversation) -> None:
    scores = scored(talk, [], np.zeros((0, 5 * RATE), dtype=np.float32), ())
    assert (scores.found, scores.wrong_track, scores.si_snri) == (0, 100.0, (None, None))


def test_who_says_but_a_word_has_a_track(talk: RenderedConversation) -> None:
    """Within the collar of its boundaries there is nothing left of it to map by."""
    talk.sources[1, round(2.4 * RATE) :] = 0
    talk.sources[1, : 2 * RATE] = 0
    turns = [Turn(0.0, 3.0, "ann"), Turn(2.0, 2.4, "bob")]
    brief = talk._replace(mixture=talk.sources.sum(0), turns=turns)
    noisy = talk.sources + 0.01 * np.random.default_rng(1).standard_normal((2, 5 * RATE))
    scores = scored(brief, turns, noisy, ("ann", "bob"))
    assert scores.wrong_track < 5
    assert all(gain is not None and gain > 20 for gain in scores.si_snri)


@pytest.mark.parametrize("turns", [[], [Turn(0.5, 0.9, "ann"), Turn(2.0, 2.4, "bob")]])
def test_a_conversation_without_speech_far_enough_from_boundaries_is_refused(
    talk: RenderedConversation, turns: list[Turn]
) -> None:
    with pytest.raises(SeptoolError, match=r"conversation a has no speech more than 0.25 s from where a turn begins"):
        scored(talk._replace(turns=turns), turns, talk.sources, ("ann", "bob"))
