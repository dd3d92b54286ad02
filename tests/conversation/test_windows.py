"""Windows that are kept: what was appended is read."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from septool.conversation.windows import Window, WindowStore
from septool.errors import SeptoolError

RATE = 8000


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_every_window_is_read_as_it_was_appended(factor: int) -> None:
    random = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    with WindowStore(RATE) as store:
        store.factor = factor
        lengths = [store.size, store.size, 1001]  # the last one is shorter
        kept = [(noise(samples), noise(2, samples), noise(factor * samples)) for samples in lengths]
        for mixture, tracks, heard in kept:
            store.append(mixture, tracks, heard)
        for number in (2, 0, 1):
            mixture, tracks, heard = kept[number]
            for found, expected in zip(store.read(number), (mixture, tracks), strict=True):
                np.testing.assert_array_equal(found, expected)
            if factor > 1:
                np.testing.assert_array_equal(store.read_recorded(number), heard)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_temporary_folder_that_is_full_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Path("/dev/full").open("wb"))  # noqa: SIM115 (closed with the windows)
    with (
        pytest.raises(SeptoolError, match=r"temporary files, .* \(No space left on device\); set TMPDIR"),
        WindowStore(RATE) as store,
    ):
        store.append(np.ones(500, dtype=np.float32), np.zeros((2, 500), dtype=np.float32))


def overlap_of(*log_odds: np.ndarray, two: bool = False) -> float:
    """Return which share of the speech overlaps, where somebody speaks in all frames of these windows."""
    with WindowStore(RATE) as store:
        for number, each in enumerate(log_odds):
            level, louder = np.full(len(each), -20.0, dtype=np.float32), np.zeros(len(each), dtype=np.int8)
            store.windows.append(Window(number * store.step, store.size, level, each, louder))
        found = store.find_activity(two=two)
    assert all(window.activity.speech.all() for window in found)
    return float(np.mean([window.activity.both.mean() for window in found]))


def odds(share: float, above: float, below: float, frames: int = 500) -> np.ndarray:
    return np.where(np.arange(frames) < share * frames, above, below).astype(np.float32)


@pytest.mark.parametrize(("shares", "expected"), [((0.9, 0.3), 1.0), ((0.5, 0.3), 0.4)])
def test_if_most_of_the_speech_overlaps_all_of_it_does(shares: tuple[float, ...], expected: float) -> None:
    windows = [odds(share, 1.0, -9.0) for share in shares]
    assert overlap_of(*windows) == pytest.approx(expected, abs=0.01)


def test_two_of_whom_nobody_is_surely_alone_speak_at_once() -> None:
    """As where a separator leaves two similar voices on one track: hardly any frame looks like two, nor like one."""
    doubtful, turns = odds(0.8, -2.0, -9.0), odds(0.7, -2.0, -9.0)
    assert overlap_of(doubtful, two=True) == overlap_of(doubtful, doubtful, two=True) == 1
    assert overlap_of(turns, two=True) == 0
    assert overlap_of(doubtful) == 0  # it may be one person
    assert overlap_of(doubtful, doubtful, doubtful, two=True) == 0  # so long a recording is a conversation
