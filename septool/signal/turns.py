"""Speaker turns: who speaks when."""

from collections.abc import Iterable
from typing import NamedTuple

OVERLAP = "overlap"  # what two or more people are called who speak at once


class Turn(NamedTuple):
    """One person speaking without a pause that matters."""

    start: float  # s
    end: float  # s
    speaker: str


def merge_turns(turns: Iterable[Turn], gap: float = 0.0) -> list[Turn]:
    """Sort turns by their start, and join those of one speaker that are at most ``gap`` seconds apart."""
    merged: dict[str, list[Turn]] = {}
    for turn in sorted(turns):
        of_speaker = merged.setdefault(turn.speaker, [])
        if of_speaker and turn.start - of_speaker[-1].end <= gap:
            of_speaker[-1] = of_speaker[-1]._replace(end=max(of_speaker[-1].end, turn.end))
        else:
            of_speaker.append(turn)
    return sorted(turn for of_speaker in merged.values() for turn in of_speaker)


def find_overlaps(turns: Iterable[Turn]) -> list[Turn]:
    """Return where two or more people speak at once, as turns of :data:`OVERLAP`."""
    edges = sorted((time, change) for turn in merge_turns(turns) for time, change in ((turn.start, 1), (turn.end, -1)))
    overlaps: list[Turn] = []
    speaking, since = 0, 0.0
    for time, change in edges:
        if speaking < 2 <= speaking + change:
            since = time
        elif speaking >= 2 > speaking + change and time > since:
            overlaps.append(Turn(since, time, OVERLAP))
        speaking += change
    return merge_turns(overlaps)
