"""Runs: which go on from which, which are of one speaker, and which are of two."""

import numpy as np
import pytest

from septool.conversation.constraints import ALONE, APART_S, FOLLOWS_S, SAME_S, follow_runs, link_runs
from septool.conversation.frame_grid import FrameGrid
from septool.conversation.runs import Run

GRID = FrameGrid(8000)


def run(window: int, track: int, start: float, end: float, both: float = 0.0) -> Run:
    return Run(window, track, np.arange(round(GRID.frames(start)), round(GRID.frames(end))), both)


def test_a_run_goes_on_from_the_last_one_of_its_track_after_a_short_pause() -> None:
    runs = [run(0, 0, 0, 1), run(0, 1, 0.5, 2), run(0, 0, 1.4, 3), run(0, 0, 3.2 + FOLLOWS_S, 5), run(0, 1, 2.5, 3)]
    assert follow_runs(runs, GRID).tolist() == [[0, 2], [1, 4]]


def test_no_run_goes_on_from_another_window_or_track() -> None:
    assert follow_runs([run(0, 0, 0, 1), run(1, 0, 1.2, 2), run(1, 1, 2.1, 3)], GRID).shape == (0, 2)
    assert follow_runs([], GRID).shape == (0, 2)


def frames_more(seconds: float, frames: int) -> float:
    """Return the least whole number of frames that a duration has, and some more, in seconds."""
    return (np.ceil(GRID.frames(seconds)) + frames) / GRID.per_second


@pytest.mark.parametrize(("more", "pairs"), [(-1, []), (0, [[0, 1]])])
def test_tracks_that_are_active_at_once_for_long_enough_are_of_two(more: int, pairs: list[list[int]]) -> None:
    runs = [run(0, 0, 0, 2), run(0, 1, 2 - frames_more(APART_S, more), 4)]
    cannot_link, must_link = link_runs(runs, GRID)
    assert (cannot_link.tolist(), must_link.tolist()) == (pairs, [])


def test_runs_of_one_track_or_of_two_windows_may_be_of_one() -> None:
    assert link_runs([run(0, 0, 0, 2), run(0, 0, 0, 2), run(1, 1, 0, 0.4)], GRID)[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("more", "both", "window", "pairs"),
    [(-1, 0.0, 1, []), (0, 0.0, 1, [[0, 1]]), (0, ALONE, 1, []), (0, ALONE - 0.01, 1, [[0, 1]]), (0, 0.0, 2, [])],
)
def test_neighbors_that_share_what_is_said_alone_are_of_one(
    more: int, both: float, window: int, pairs: list[list[int]]
) -> None:
    runs = [run(0, 0, 0, 2), run(window, 1, 2 - frames_more(SAME_S, more), 4, both)]
    cannot_link, must_link = link_runs(runs, GRID)
    assert (cannot_link.tolist(), must_link.tolist()) == ([], pairs)
