"""Runs: which go on from which."""

import numpy as np

from septool.conversation.constraints import FOLLOWS_S, follow_runs
from septool.conversation.frame_grid import FrameGrid
from septool.conversation.runs import Run

GRID = FrameGrid(8000)


def run(window: int, track: int, start: float, end: float) -> Run:
    return Run(window, track, np.arange(round(GRID.frames(start)), round(GRID.frames(end))), 0.0)


def test_a_run_goes_on_from_the_last_one_of_its_track_after_a_short_pause() -> None:
    runs = [run(0, 0, 0, 1), run(0, 1, 0.5, 2), run(0, 0, 1.4, 3), run(0, 0, 3.2 + FOLLOWS_S, 5), run(0, 1, 2.5, 3)]
    assert follow_runs(runs, GRID).tolist() == [[0, 2], [1, 4]]


def test_no_run_goes_on_from_another_window_or_track() -> None:
    assert follow_runs([run(0, 0, 0, 1), run(1, 0, 1.2, 2), run(1, 1, 2.1, 3)], GRID).shape == (0, 2)
    assert follow_runs([], GRID).shape == (0, 2)
