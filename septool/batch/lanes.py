"""Speaker lanes of an HTML report: the activity of each person on a common time axis.

The size of a page does not grow with the recording: images have a fixed width, and segments closer together than one
column are drawn as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

Span = tuple[float, float]  # start and end, s

STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # between marks of a time axis
MOST_MARKS = 12
FINEST = 900  # columns of an axis


class Mark(NamedTuple):
    """A labeled tick of an axis."""

    text: str
    percent: float  # position from left to right


@dataclass(frozen=True)
class TimeAxis:
    """Maps times of a recording to positions on a common axis.

    Args:
        seconds: of the recording.
    """

    seconds: float

    def marks(self) -> list[Mark]:
        """Return at most a dozen round times; for recordings of more than two days only the start."""
        step = next((step for step in STEPS_S if self.seconds / step < MOST_MARKS), None)
        if step is None:
            return [Mark("0:00", 0.0)]
        times = range(0, int(self.seconds) + 1, step)
        return [Mark(format_time(time), 100 * time / max(self.seconds, 1e-9)) for time in times]

    def path(self, spans: Sequence[Span]) -> str:
        """Return spans as the path of an SVG image of ``FINEST`` by 1 units, each at least a unit wide."""
        unit = max(self.seconds, 1e-9) / FINEST
        merged: list[list[float]] = []
        for start, end in sorted(spans):
            first, last = int(start / unit), max(end / unit, int(start / unit) + 1)
            if merged and first <= merged[-1][1] + 0.5:
                merged[-1][1] = max(merged[-1][1], last)
            else:
                merged.append([first, last])
        return "".join(f"M{first:g} 0H{min(last, FINEST):.1f}V1H{first:g}z" for first, last in merged)


def format_time(seconds: float) -> str:
    """Return a time as ``1:05`` or ``1:00:05``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
