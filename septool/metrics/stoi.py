"""Short-time objective intelligibility (Taal et al., 2011) and its extension (Jensen and Taal, 2016)."""

# pyright: reportMissingTypeStubs=false

import warnings
from typing import Any

import numpy as np

from septool.metrics import UndefinedError


def stoi_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:
    """STOI of one signal ``[time]``, from 0 to 1; higher is better.

    Raises:
        UndefinedError: less than 30 frames of speech (about 0.4 s), or silence.
    """
    return _stoi(estimate, reference, rate, extended=False)


def estoi_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:
    """Extended STOI of one signal ``[time]``; see :func:`stoi_item`."""
    return _stoi(estimate, reference, rate, extended=True)


def _stoi(estimate: np.ndarray, reference: np.ndarray, rate: int, *, extended: bool) -> float:
    import pystoi

    untyped: Any = pystoi
    if not np.ptp(reference) or not np.ptp(estimate):
        raise UndefinedError("the reference or the estimate is silent")
    with warnings.catch_warnings():
        # pystoi answers 1e-5 with a warning where there is too little speech; that is not a value. With less
        # than one frame it stumbles.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(untyped.stoi(reference, estimate, rate, extended=extended))
        except (RuntimeWarning, np.exceptions.AxisError):
            raise UndefinedError("too little speech for STOI (about 0.4 s are needed)") from None
