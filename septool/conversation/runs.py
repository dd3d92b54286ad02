"""Runs: segments in which one track of a window carries one speaker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from septool.conversation.activity import SHORTEST_S, Activity, close_gaps, frame_length, spans

PAUSE_S = 0.35  # shorter pauses are part of a run
SHORTEST_EMBEDDED_S = 0.2  # minimum input of a speaker network
SHORTEST_ALONE_S = 0.5  # of what a speaker says alone, from which it is heard instead of the run


@dataclass(frozen=True)
class WindowActivity:
    """The speech activity of a window of the recording."""

    start: int  # first frame in the recording
    activity: Activity

    def __len__(self) -> int:
        return len(self.activity.speech)


@dataclass(frozen=True)
class Run:
    """Speech of one speaker on one track of one window."""

    window: int
    track: int
    frames: np.ndarray  # of the recording, ascending
    both: float  # fraction of the frames with a second speaker


def find_runs(windows: Sequence[WindowActivity], rate: int) -> list[Run]:
    """List the runs of all windows, ordered by window and start."""
    per_second = rate / frame_length(rate)
    runs = []
    for number, window in enumerate(windows):
        speech, both, louder = window.activity
        for track in range(2):
            on = speech & (both | (louder == track))
            for first, last in spans(close_gaps(on, round(PAUSE_S * per_second))):
                frames = window.start + first + np.flatnonzero(on[first:last]).astype(np.int32)
                if len(frames) >= SHORTEST_S * per_second:
                    runs.append(Run(number, track, frames, float(both[frames - window.start].mean())))
    return sorted(runs, key=lambda run: (run.window, run.frames[0]))


def run_samples(run: Run, window: WindowActivity, mixture: np.ndarray, tracks: np.ndarray, rate: int) -> np.ndarray:
    """Return the samples of a run, ``[time]``: the recording where one speaker is active, the track elsewhere."""
    hop = frame_length(rate)
    heard = np.where(_per_sample(window.activity.both, hop, len(mixture)), tracks[run.track], mixture)
    wanted = np.zeros(len(window), dtype=bool)
    wanted[run.frames - window.start] = True
    return heard[_per_sample(wanted, hop, len(mixture))]


def alone_samples(run: Run, window: WindowActivity, heard: np.ndarray, rate: int, factor: int) -> np.ndarray:
    """Return the samples of a run where its speaker is alone, ``[time]``.

    Nothing, where that is less than :data:`SHORTEST_ALONE_S`.

    Args:
        run: the run.
        window: its window, at ``rate``.
        heard: samples of the window at ``factor`` times ``rate``.
        rate: Hz.
        factor: how many times as high the rate of ``heard`` is.
    """
    wanted = np.zeros(len(window), dtype=bool)
    wanted[run.frames - window.start] = True
    alone = heard[_per_sample(wanted & ~window.activity.both, factor * frame_length(rate), len(heard))]
    return alone if len(alone) >= SHORTEST_ALONE_S * factor * rate else alone[:0]


def _per_sample(mask: np.ndarray, hop: int, samples: int) -> np.ndarray:
    """Spread frames, each centered on a multiple of ``hop``, over samples."""
    return mask[np.minimum((np.arange(samples) + hop // 2) // hop, len(mask) - 1)]
