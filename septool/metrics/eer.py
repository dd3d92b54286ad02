"""Equal error rate of a binary decision, such as whether two recordings are of one speaker."""

from typing import NamedTuple

import numpy as np

from septool.metrics import Measure, UndefinedError

EER = Measure("eer", "%", better="lower")


class EqualErrorRate(NamedTuple):
    """Where false alarms and misses are equally frequent."""

    percent: float
    threshold: float  # scores from here on up are a yes


def equal_error_rate(scores: np.ndarray, truth: np.ndarray) -> EqualErrorRate:
    """Return the rate at which as large a part of the true ones is missed as of the false ones is let through.

    The two rates are steps; where none makes them equal, the mean of the two at the step where they are
    nearest is taken (for the convex hull or an interpolation it would be slightly lower).

    Args:
        scores: one for each trial, ``[trial]``, higher for a yes.
        truth: whether it should be a yes, ``[trial]``.

    Raises:
        UndefinedError: all trials are true, or none, or a score is not a number.
    """
    scores, truth = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=bool)
    if truth.all() or not truth.any():
        raise UndefinedError("all trials have the same answer")
    if not np.isfinite(scores).all():
        raise UndefinedError("a score is not a number")
    thresholds = np.unique(scores)
    missed = np.searchsorted(np.sort(scores[truth]), thresholds) / truth.sum()
    passed = 1 - np.searchsorted(np.sort(scores[~truth]), thresholds) / (~truth).sum()
    best = int(np.abs(missed - passed).argmin())
    # Half way to the score below: any threshold between the two decides the same.
    threshold = (thresholds[max(best - 1, 0)] + thresholds[best]) / 2
    return EqualErrorRate(50 * float(missed[best] + passed[best]), float(threshold))
