"""Pairwise must-link and cannot-link constraints between runs, derived from their positions."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from septool.conversation.frame_grid import FrameGrid
from septool.conversation.runs import Run

APART_S = 0.3  # overlap of the two tracks of a window from which their runs have different speakers
SAME_S = 0.5  # shared non-overlapped speech from which runs of neighboring windows have the same speaker
FOLLOWS_S = 0.8  # longest pause after which a run continues the previous one on its track
ALONE = 0.3  # fraction of overlapped speech from which a run does not count as non-overlapped

Pairs = np.ndarray  # indices of segments, [pair, 2]


class Constraints(NamedTuple):
    """Constraints on pairs of runs that do not depend on embeddings, ``[pair, 2]`` each."""

    cannot_link: Pairs  # different speakers
    must_link: Pairs  # the same speaker
    follow: Pairs  # consecutive on the same track, after a short pause


def find_constraints(runs: Sequence[Run], grid: FrameGrid) -> Constraints:
    """Return the constraints between the runs of a recording."""
    cannot_link, must_link = link_runs(runs, grid)
    return Constraints(cannot_link, must_link, follow_runs(runs, grid))


def link_runs(runs: Sequence[Run], grid: FrameGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return the cannot-link and the must-link pairs of runs, ``[pair, 2]`` each.

    Runs on both tracks of a window that are active at once cannot link; runs of neighboring windows that share the
    same non-overlapped speech must link.
    """
    cannot: list[tuple[int, int]] = []
    must: list[tuple[int, int]] = []
    inside: dict[int, list[int]] = {}
    for index, run in enumerate(runs):
        inside.setdefault(run.window, []).append(index)

    def shared(first: int, second: int) -> int:
        return len(np.intersect1d(runs[first].frames, runs[second].frames, assume_unique=True))

    for window, places in inside.items():
        for first, second in combinations(places, 2):
            if runs[first].track != runs[second].track and shared(first, second) >= grid.frames(APART_S):
                cannot.append((first, second))
        for first in places:
            for second in inside.get(window + 1, ()):
                alone = max(runs[first].both, runs[second].both) < ALONE
                if alone and shared(first, second) >= grid.frames(SAME_S):
                    must.append((first, second))
    return np.array(cannot, dtype=int).reshape(-1, 2), np.array(must, dtype=int).reshape(-1, 2)


def follow_runs(runs: Sequence[Run], grid: FrameGrid) -> np.ndarray:
    """Return pairs of runs of a window that follow each other on a track after a short pause, ``[pair, 2]``."""
    most = grid.frames(FOLLOWS_S)
    found: list[tuple[int, int]] = []
    last: dict[tuple[int, int], int] = {}  # by window and track
    for index, run in enumerate(runs):
        before = last.get((run.window, run.track))
        if before is not None and run.frames[0] - runs[before].frames[-1] < most:
            found.append((before, index))
        last[run.window, run.track] = index
    return np.array(found, dtype=int).reshape(-1, 2)
