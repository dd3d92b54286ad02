"""Cutting and adding back: every frame twice, whatever the length and the padding."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from septool.signal.frames import (
    Padding,
    dprnn_padding,
    dprnn_segments,
    fold,
    galr_padding,
    missing_samples,
    overlap_add,
    segment,
    unfold,
    unfold_padding,
    window_padding,
)

PADDINGS = [dprnn_padding, galr_padding, unfold_padding]
LENGTHS = [1, 2, 3, 9, 10, 11, 19, 20, 21, 29, 30, 37, 40, 99, 100, 101]


def sequence(frames: int) -> Tensor:
    return torch.randn(2, frames, 3, generator=torch.Generator().manual_seed(frames), dtype=torch.float64)


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("size", [2, 10, 20])
@pytest.mark.parametrize("how", PADDINGS)
def test_every_frame_comes_back_twice(how: Callable[[int, int], Padding], size: int, frames: int) -> None:
    x = sequence(frames)
    padding = how(frames, size)
    segments = segment(x, size, padding)
    assert segments.shape[2:] == (size, 3)
    torch.testing.assert_close(overlap_add(segments, frames, padding), 2 * x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("how", PADDINGS)
def test_neighbours_share_half(how: Callable[[int, int], Padding]) -> None:
    segments = segment(sequence(50), 10, how(50, 10))
    assert torch.equal(segments[:, :-1, 5:], segments[:, 1:, :5])


def test_a_segment_is_an_excerpt_of_the_padded_sequence() -> None:
    x = torch.arange(1.0, 8.0)[None, :, None]
    assert segment(x, 4, Padding(2, 3))[0, :, :, 0].tolist() == [
        [0, 0, 1, 2],
        [1, 2, 3, 4],
        [3, 4, 5, 6],
        [5, 6, 7, 0],
        [7, 0, 0, 0],
    ]


def test_what_is_shared_stands_in_front_of_every_segment() -> None:
    x, shared = sequence(37), sequence(4)
    alone, both = (segment(x, 10, dprnn_padding(37, 10), *more) for more in ((), (shared,)))
    assert torch.equal(both[:, :, 4:], alone)
    assert torch.equal(both[:, :, :4], shared[:, None].expand(-1, alone.shape[1], -1, -1))


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("size", [2, 10, 20])
def test_galr_has_as_many_segments_as_its_paper_says(size: int, frames: int) -> None:
    assert segment(sequence(frames), size, galr_padding(frames, size)).shape[1] == math.ceil(2 * frames / size) + 1


@pytest.mark.parametrize("frames", LENGTHS)
def test_dprnn_pads_to_whole_segments_as_its_code_does(frames: int) -> None:
    size, hop = 20, 10
    front, back = dprnn_padding(frames, size)
    assert front == hop
    assert (front + frames + back) % size == hop  # an even number of hops and a half, both ends padded by a hop
    assert hop < back <= hop + size
    if (hop + frames) % size == 0:
        assert back == hop + size  # the whole segment of zeros that it need not have


@pytest.mark.parametrize("size", [2, 10, 20])
def test_how_many_segments_dprnn_has(size: int) -> None:
    counts = [segment(sequence(frames), size, dprnn_padding(frames, size)).shape[1] for frames in LENGTHS]
    assert dprnn_segments(torch.tensor(LENGTHS), size).tolist() == counts


@pytest.mark.parametrize("samples", [1, 3, 4, 5, 15, 16, 17, 100, 101])
@pytest.mark.parametrize(("window", "hop"), [(4, 2), (16, 8), (16, 4), (20, 10), (21, 10)])
def test_windows_cover_every_sample(samples: int, window: int, hop: int) -> None:
    missing = missing_samples(samples, window, hop)
    total = samples + missing
    assert total >= window
    assert (total - window) % hop == 0
    assert missing < max(hop, window - samples + 1)


WINDOWS = pytest.mark.parametrize(("size", "hop"), [(4, 4), (4, 1), (4, 2), (5, 3), (3, 2), (1, 1)])


@WINDOWS
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7, 8, 33, 65])
def test_windows_cover_every_position_with_no_window_to_spare(length: int, size: int, hop: int) -> None:
    end = window_padding(length, size, hop, both=False)
    assert end.front == 0
    assert 0 <= end.back < max(hop, size - length + 1)
    assert (length + end.back - size) % hop == 0
    both = window_padding(length, size, hop)
    assert both == (size - hop, window_padding(length + 2 * (size - hop), size, hop, both=False).back + size - hop)


@WINDOWS
def test_windows_are_excerpts_position_by_position(size: int, hop: int) -> None:
    x = sequence(size + 3 * hop)
    windows = unfold(x, size, hop)
    expected = [x[:, start : start + size].reshape(2, -1) for start in range(0, 3 * hop + 1, hop)]
    assert torch.equal(windows, torch.stack(expected, dim=1))


@WINDOWS
def test_folding_adds_the_windows_where_they_were(size: int, hop: int) -> None:
    windows = torch.randn(2, 7, 5, size * 3, dtype=torch.float64)
    expected = torch.zeros(2, 7, size + 4 * hop, 3, dtype=torch.float64)
    for number in range(5):
        expected[:, :, number * hop : number * hop + size] += windows[:, :, number].unflatten(-1, (size, 3))
    torch.testing.assert_close(fold(windows, size, hop), expected, rtol=0, atol=1e-14)
