"""Speech activity: what is silent has a level, however loud what came before it is."""

import numpy as np
import pytest

from septool.conversation.activity import (
    LOUDEST_FLOOR_DB,
    NOISE_MARGIN_DB,
    SHORTEST_S,
    SILENT_DB,
    SPEECH_RANGE_DB,
    Activity,
    close_gaps,
    drop_islands,
    frame_levels,
    is_speech,
    magnitudes,
    overlap_features,
    score_overlap,
    smooth_activity,
    spans,
)
from septool.conversation.frame_grid import FrameGrid

RATE = 8000


@pytest.mark.parametrize("seed", range(5))
def test_silence_behind_loud_speech_is_silence(seed: int) -> None:
    """Floats may hold integers. A running sum over such energies does not come back to nothing by itself."""
    random = np.random.default_rng(seed)
    voice = 32768 * random.uniform(-1, 1, 4 * RATE).astype(np.float32)
    voice[random.integers(RATE, 2 * RATE) :] = 0
    heard, tracks = magnitudes(voice, RATE), magnitudes(np.stack([voice, np.zeros_like(voice)]), RATE)
    assert frame_levels(heard)[-20:] == pytest.approx(-120)
    assert np.isfinite(overlap_features(heard, tracks)).all()
    log_odds, louder = score_overlap(heard, tracks)
    assert (log_odds[: RATE // 200] < 0).all()  # in silence nobody asks
    assert not louder.any()


def mask(text: str) -> np.ndarray:
    """Return a mask of frames that are written as x or a point."""
    return np.array([letter == "x" for letter in text])


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ("x..x", "xxxx"),  # as long as the most that is filled
        ("x...x", "x...x"),  # longer
        ("..x.x..", "..xxx.."),  # what is before the first and behind the last is no gap
        ("x.", "x."),
        ("....", "...."),
        ("", ""),
    ],
)
def test_gaps_of_up_to_two_frames_are_filled(given: str, filled: str) -> None:
    np.testing.assert_array_equal(close_gaps(mask(given), 2), mask(filled))
    np.testing.assert_array_equal(close_gaps(mask(given), 0), mask(given))


@pytest.mark.parametrize(
    ("given", "left"),
    [("xx.xxx.x", "...xxx.."), ("xxx", "xxx"), ("xx...xxx", ".....xxx"), (".xxxx.xx", ".xxxx..."), ("", "")],
)
def test_islands_of_less_than_three_frames_are_dropped(given: str, left: str) -> None:
    np.testing.assert_array_equal(drop_islands(mask(given), 3), mask(left))
    np.testing.assert_array_equal(drop_islands(mask(given), 1), mask(given))


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", []), ("...", []), ("xxx", [(0, 3)]), (".xx.x", [(1, 3), (4, 5)]), ("x..", [(0, 1)])],
)
def test_spans_begin_and_end_where_the_mask_does(given: str, expected: list[tuple[int, int]]) -> None:
    assert spans(mask(given)) == expected


def test_overlaps_are_in_speech_and_none_is_short() -> None:
    grid = FrameGrid(8000)
    shortest = round(grid.frames(SHORTEST_S))
    both = np.concatenate([np.ones(shortest), [0], np.ones(shortest), np.zeros(40), np.ones(shortest - 1)]) > 0
    speech = np.ones_like(both)
    speech[0] = False
    found = smooth_activity(Activity(speech, both, np.zeros(len(both))), grid)
    assert spans(found.both) == [(1, 2 * shortest + 1)]


@pytest.mark.parametrize(
    ("loud", "quiet", "floor"),
    [
        (-20.0, -90.0, -20.0 - SPEECH_RANGE_DB),  # nearly no noise: a range below the loud parts
        (-20.0, -45.0, -45.0 + NOISE_MARGIN_DB),  # noise: a margin above it
        (-20.0, -22.0, -20.0 - LOUDEST_FLOOR_DB),  # never more than so much below the loud parts
        (-70.0, -120.0, SILENT_DB),  # and never below what is silence
    ],
)
def test_speech_begins_where_levels_of_the_recording_say(loud: float, quiet: float, floor: float) -> None:
    assert is_speech(np.array([floor - 0.1, floor]), loud, quiet).tolist() == [False, True]
