"""Diarization error rate (NIST, Rich Transcription evaluation plan, 2009).

The part of the reference speech, counted once for each speaker, that is missed, invented or given to somebody else.
Speakers are mapped one to one so that as much speech as possible agrees; overlapping speech counts for every speaker
in it. Times within ``collar`` seconds of a start or an end of the reference are left out, on both sides of it, as
``md-eval`` and dscore do; pyannote.metrics calls twice that length its collar.
"""

# pyright: reportMissingTypeStubs=false

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize

from septool.metrics import UndefinedError
from septool.signal.turns import Turn, merge_turns


class DiarizationError(NamedTuple):
    """Seconds of each kind of error, and who of the estimate is who of the reference."""

    missed: float
    false_alarm: float
    confusion: float
    total: float  # reference speech, counted once for each speaker
    mapping: dict[str, str]  # estimated to reference speaker

    @property
    def percent(self) -> float:
        """The error rate; above 100 where more is invented than was said.

        Raises:
            UndefinedError: nobody speaks in the reference.
        """
        if not self.total:
            raise UndefinedError("nobody speaks in the reference")
        return 100 * (self.missed + self.false_alarm + self.confusion) / self.total


def diarization_error(*, estimate: Sequence[Turn], reference: Sequence[Turn], collar: float = 0.0) -> DiarizationError:
    """Compare who speaks when with who should.

    Args:
        estimate: turns, in any order; those of one speaker may overlap.
        reference: the true ones.
        collar: seconds before and after every boundary of the reference that are left out.
    """
    boundaries = np.sort([time for start, end, _ in merge_turns(reference) for time in (start, end)])
    times = [time for start, end, _ in estimate for time in (start, end)]
    # Every time, in s, at which what is scored may change.
    edges = np.unique(np.concatenate([boundaries, boundaries - collar, boundaries + collar, times, [0.0]]))
    middles, lengths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    scored = np.ones(len(middles), dtype=bool)
    if collar and len(boundaries):
        interval = np.searchsorted(boundaries, middles)
        before = middles - boundaries[np.maximum(interval - 1, 0)]
        after = boundaries[np.minimum(interval, len(boundaries) - 1)] - middles
        scored = np.minimum(np.abs(before), np.abs(after)) >= collar
    lengths = lengths * scored
    names, active = _activity(reference, middles)
    clusters, speaking = _activity(estimate, middles)
    co_occurrence = (active[:, None] & speaking[None]) @ lengths  # [reference, estimate], s
    untyped: Any = scipy.optimize
    rows, columns = untyped.linear_sum_assignment(co_occurrence, maximize=True)
    pairs = [(row, column) for row, column in zip(rows, columns, strict=True) if co_occurrence[row, column] > 0]
    correct = sum(float(co_occurrence[row, column]) for row, column in pairs)
    true, hypothesized = active.sum(0), speaking.sum(0)
    return DiarizationError(
        missed=float(np.maximum(true - hypothesized, 0) @ lengths),
        false_alarm=float(np.maximum(hypothesized - true, 0) @ lengths),
        confusion=float(np.minimum(true, hypothesized) @ lengths) - correct,
        total=float(true @ lengths),
        mapping={clusters[column]: names[row] for row, column in pairs},
    )


def _activity(turns: Sequence[Turn], times: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the speakers, and whether each speaks at each of the times, ``[speaker, time]``."""
    names = sorted({speaker for _, _, speaker in turns})
    active = np.zeros((len(names), len(times)), dtype=bool)
    for start, end, speaker in turns:
        active[names.index(speaker), np.searchsorted(times, start) : np.searchsorted(times, end)] = True
    return names, active
