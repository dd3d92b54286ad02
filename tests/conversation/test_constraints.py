"""Runs: which go on from which."""

import numpy as np

from septool.conversation.activity import frame_length
from septool.conversation.constraints import FOLLOWS_S, follow_runs
from septool.conversation.runs import Run

RATE = 8000


def run(window: int, track: int, start: float, end: float) -> Run:
    per_second = RATE / frame_length(RATE)
    return Run(window, track, np.arange(round(start * per_second), round(end * per_second)), 0.0)


def test_a_run_goes_on_from_the_last_one_of_its_track_after_a_short_pause() -> None:
    runs = [run(0, 0, 0, 1), run(0, 1, 0.5, 2), run(0, 0, 1.4, 3), run(0, 0, 3.2 + FOLLOWS_S, 5), run(0, 1, 2.5, 3)]
    assert follow_runs(runs, RATE).tolist() == [[0, 2], [1, 4]]


def test_no_run_goes_on_from_another_window_or_track() -> None:
    assert follow_runs([run(0, 0, 0, 1), run(1, 0, 1.2, 2), run(1, 1, 2.1, 3)], RATE).shape == (0, 2)
    assert follow_runs([], RATE).shape == (0, 2)
