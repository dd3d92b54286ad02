"""Runs: what a speaker says alone."""

import numpy as np
import pytest

from septool.conversation.activity import Activity
from septool.conversation.frame_grid import FrameGrid
from septool.conversation.runs import Run, WindowActivity, alone_samples

RATE, FACTOR, HOP = 8000, 2, 256


@pytest.mark.parametrize(("alone", "expected"), [(100, 100), (32, 32), (31, 0), (0, 0)])
def test_what_somebody_says_alone_is_heard_from_half_a_second_on(alone: int, expected: int) -> None:
    """A second of 62.5 frames of 16 ms; what comes after is said by both."""
    frames, start = 200, 50
    both = np.zeros(frames, dtype=bool)
    both[20 + alone :] = True
    window = WindowActivity(start, Activity(np.ones(frames, dtype=bool), both, np.zeros(frames, dtype=int)))
    run = Run(0, 0, start + np.arange(20, 150), 0.5)
    heard = np.arange(frames * HOP, dtype=np.float32)
    first = 20 * HOP - HOP // 2  # frames are centered
    found = alone_samples(run, window, heard, FrameGrid(RATE), FACTOR)
    np.testing.assert_array_equal(found, heard[first : first + expected * HOP])
