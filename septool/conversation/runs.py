"""Runs: segments in which one track of a window carries one speaker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from septool.conversation.activity import SHORTEST_S, Activity, close_gaps, spans
from septool.conversation.frame_grid import FrameGrid

PAUSE_S = 0.35  # shorter pauses are part of a run
SHORTEST_EMBEDDED_S = 0.2  # minimum input of a speaker network
SHORTEST_ALONE_S = 0.5  # least solo speech of a run that is embedded without its overlaps


@dataclass(frozen=True)
class WindowActivity:
    """The speech activity of a window of the recording."""

    start: int  # first frame in the recording
    activity: Activity

    def __len__(self) -> int:
        return len(self.activity.speech)


def overlap_all(windows: Sequence[WindowActivity]) -> list[WindowActivity]:
    """Return windows in which two people speak wherever anybody does."""
    return [replace(window, activity=window.activity._replace(both=window.activity.speech)) for window in windows]


@dataclass(frozen=True)
class Run:
    """Speech of one speaker on one track of one window."""

    window: int
    track: int
    frames: np.ndarray  # frames of the recording, ascending
    both: float  # fraction of the frames with a second speaker


def find_runs(windows: Sequence[WindowActivity], grid: FrameGrid) -> list[Run]:
    """List the runs of all windows, ordered by window and start."""
    runs = []
    for number, window in enumerate(windows):
        speech, both, louder = window.activity
        for track in range(2):
            on = speech & (both | (louder == track))
            for first, last in spans(close_gaps(on, round(grid.frames(PAUSE_S)))):
                frames = window.start + first + np.flatnonzero(on[first:last]).astype(np.int32)
                if len(frames) >= grid.frames(SHORTEST_S):
                    runs.append(Run(number, track, frames, float(both[frames - window.start].mean())))
    return sorted(runs, key=lambda run: (run.window, run.frames[0]))


def run_samples(
    run: Run, window: WindowActivity, mixture: np.ndarray, tracks: np.ndarray, grid: FrameGrid
) -> np.ndarray:
    """Return the samples of a run, ``[time]``: the recording where one speaker is active, the track elsewhere."""
    samples = np.where(grid.to_samples(window.activity.both, len(mixture)), tracks[run.track], mixture)
    wanted = np.zeros(len(window), dtype=bool)
    wanted[run.frames - window.start] = True
    return samples[grid.to_samples(wanted, len(mixture))]


def alone_samples(run: Run, window: WindowActivity, recorded: np.ndarray, grid: FrameGrid, factor: int) -> np.ndarray:
    """Return the samples of a run where its speaker is alone, ``[time]``.

    Nothing, where that is less than :data:`SHORTEST_ALONE_S`.

    Args:
        run: the run.
        window: its window.
        recorded: samples of the window at ``factor`` times the rate of the grid, ``[time]``.
        grid: where the frames of the window are.
        factor: how many times as high the rate of ``recorded`` is.
    """
    wanted = np.zeros(len(window), dtype=bool)
    wanted[run.frames - window.start] = True
    alone = recorded[grid.to_samples(wanted & ~window.activity.both, len(recorded), factor)]
    return alone if len(alone) >= SHORTEST_ALONE_S * factor * grid.rate else alone[:0]
