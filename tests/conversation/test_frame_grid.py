"""The frame grid: where frames are, and which samples they stand for."""

import numpy as np
import pytest

from septool.conversation.frame_grid import FrameGrid


@pytest.mark.parametrize(("rate", "hop"), [(8000, 128), (16000, 256), (11025, 176), (44100, 705)])
def test_frames_are_half_a_spectrum_apart(rate: int, hop: int) -> None:
    grid = FrameGrid(rate)
    assert grid.hop == hop
    assert grid.frames(2.0) == pytest.approx(2 * rate / hop)
    assert grid.round_to_frames(2.0) % hop == 0
    assert grid.round_to_frames(2.0) == pytest.approx(2 * rate, abs=hop / 2)


@pytest.mark.parametrize("factor", [1, 3])
def test_each_sample_takes_the_value_of_the_nearest_frame(factor: int) -> None:
    grid, mask = FrameGrid(8000), np.array([True, False, True])
    hop = factor * grid.hop
    found = grid.to_samples(mask, 3 * hop, factor)
    expected = [True] * (hop // 2) + [False] * hop + [True] * (3 * hop - hop // 2 - hop)  # the last one to the end
    assert found.tolist() == expected
