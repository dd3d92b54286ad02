"""Pairwise constraints, must-link and cannot-link: which runs are one person and which two, by where they stand."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from septool.conversation.activity import frame_length
from septool.conversation.runs import Run

APART_S = 0.3  # two tracks of a window that are busy together for longer are two people
SAME_S = 0.5  # of one recording, heard alone in two windows, that makes two runs one person
FOLLOWS_S = 0.8  # of pause, up to which a run goes on from the one before it on its track
ALONE = 0.3  # part of a run with two people at once, from which it is not heard alone

Pairs = np.ndarray  # of places in a list, [pair, 2]


class Constraints(NamedTuple):
    """What is known of pairs of runs whatever they sound like, ``[pair, 2]`` each."""

    cannot_link: Pairs  # two people
    must_link: Pairs  # one person
    follow: Pairs  # one after the other on the same track


def find_constraints(runs: Sequence[Run], rate: int) -> Constraints:
    """Return what is known of the runs of a recording at ``rate`` Hz."""
    cannot_link, must_link = link_runs(runs, rate)
    return Constraints(cannot_link, must_link, follow_runs(runs, rate))


def link_runs(runs: Sequence[Run], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which runs are two people for certain, and which are one, ``[pair, 2]`` each.

    Two are, where both tracks of a window are busy together; one is, where the same part of the recording is heard
    alone in two windows that share it.
    """
    per_second = rate / frame_length(rate)
    cannot: list[tuple[int, int]] = []
    must: list[tuple[int, int]] = []
    inside: dict[int, list[int]] = {}
    for place, run in enumerate(runs):
        inside.setdefault(run.window, []).append(place)

    def shared(one: int, other: int) -> int:
        return len(np.intersect1d(runs[one].frames, runs[other].frames, assume_unique=True))

    for window, places in inside.items():
        for one, other in combinations(places, 2):
            if runs[one].track != runs[other].track and shared(one, other) >= APART_S * per_second:
                cannot.append((one, other))
        for one in places:
            for other in inside.get(window + 1, ()):
                alone = max(runs[one].both, runs[other].both) < ALONE
                if alone and shared(one, other) >= SAME_S * per_second:
                    must.append((one, other))
    return np.array(cannot, dtype=int).reshape(-1, 2), np.array(must, dtype=int).reshape(-1, 2)


def follow_runs(runs: Sequence[Run], rate: int) -> np.ndarray:
    """Return which runs of a window come one after the other on a track, with a short pause between, ``[pair, 2]``."""
    most = FOLLOWS_S * rate / frame_length(rate)
    found: list[tuple[int, int]] = []
    last: dict[tuple[int, int], int] = {}  # by window and track
    for place, run in enumerate(runs):
        before = last.get((run.window, run.track))
        if before is not None and run.frames[0] - runs[before].frames[-1] < most:
            found.append((before, place))
        last[run.window, run.track] = place
    return np.array(found, dtype=int).reshape(-1, 2)
