"""Runs: stretches in which one track of a window carries one person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, binary_opening

from septool.conversation.activity import Activity, frame_length

PAUSE_S = 0.35  # a shorter pause is part of a run
SHORTEST_S = 0.2  # of what counts as speech, and of two people at once
SHORTEST_EMBEDDED_S = 0.2  # of samples that a speaker network is given


@dataclass(frozen=True)
class WindowActivity:
    """What was found in a window of the recording."""

    start: int  # frame of the recording with which it begins
    activity: Activity

    def __len__(self) -> int:
        return len(self.activity.speech)


@dataclass(frozen=True)
class Run:
    """One person on one track of one window."""

    window: int
    track: int
    frames: np.ndarray  # of the recording, ascending
    both: float  # part of them in which somebody else speaks too


def close_gaps(mask: np.ndarray, frames: int) -> np.ndarray:
    """Fill gaps of up to so many frames in ``[frame]``."""
    if frames < 1:
        return mask
    return binary_closing(np.pad(mask, frames), np.ones(frames + 1))[frames:-frames]


def drop_islands(mask: np.ndarray, frames: int) -> np.ndarray:
    """Remove what is shorter than so many frames from ``[frame]``."""
    return binary_opening(mask, np.ones(frames)) if frames > 1 else mask


def spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return where ``[frame]`` is true, as first frames and frames behind the last."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(np.int8), 1)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def smooth_activity(activity: Activity, rate: int) -> Activity:
    """Take out what is too short to be two people at once, or too short not to be."""
    shortest = round(SHORTEST_S * rate / frame_length(rate))
    return activity._replace(both=drop_islands(close_gaps(activity.both, shortest), shortest) & activity.speech)


def find_runs(windows: Sequence[WindowActivity], rate: int) -> list[Run]:
    """List the runs of all windows, in the order of windows and, in each, of their beginnings."""
    per_second = rate / frame_length(rate)
    runs = []
    for number, window in enumerate(windows):
        speech, both, louder = window.activity
        for track in range(2):
            on = speech & (both | (louder == track))
            for first, last in spans(close_gaps(on, round(PAUSE_S * per_second))):
                frames = first + np.flatnonzero(on[first:last])
                if len(frames) >= SHORTEST_S * per_second:
                    runs.append(Run(number, track, frames + window.start, float(both[frames].mean())))
    return sorted(runs, key=lambda run: (run.window, run.frames[0]))


def run_samples(run: Run, window: WindowActivity, mixture: np.ndarray, tracks: np.ndarray, rate: int) -> np.ndarray:
    """Cut out what is heard of a run: the recording where the person is alone, else the track, ``[time]``."""
    hop = frame_length(rate)
    heard = np.where(_per_sample(window.activity.both, hop, len(mixture)), tracks[run.track], mixture)
    wanted = np.zeros(len(window), dtype=bool)
    wanted[run.frames - window.start] = True
    return heard[_per_sample(wanted, hop, len(mixture))]


def _per_sample(mask: np.ndarray, hop: int, samples: int) -> np.ndarray:
    """Spread frames, each centered on a multiple of ``hop``, over samples."""
    return mask[np.minimum((np.arange(samples) + hop // 2) // hop, len(mask) - 1)]
