"""Perceptual evaluation of speech quality (ITU-T P.862, wide band P.862.2)."""

import numpy as np

from septool.metrics import UndefinedError

MODES = {8000: "nb", 16000: "wb"}


def pesq_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:
    """PESQ of one signal ``[time]``, as MOS-LQO from 1 to about 4.6; higher is better.

    Narrow band at 8000 Hz, wide band at 16000 Hz; the standard defines no other rates.

    Raises:
        UndefinedError: another rate, less than a quarter second, or no utterance found.
    """
    from pesq import PesqError, pesq  # its C extension costs start-up time

    if rate not in MODES:
        raise UndefinedError(f"PESQ is defined at 8000 and 16000 Hz, not at {rate}")
    if not np.any(estimate):
        raise UndefinedError("the estimate is silent")
    try:
        return float(pesq(rate, reference.astype(np.float32), estimate.astype(np.float32), MODES[rate]))
    except (PesqError, ValueError) as error:
        text = error.args[0] if error.args else type(error).__name__
        reason = text.decode() if isinstance(text, bytes) else str(text)
        raise UndefinedError(reason.rstrip(".!").lower()) from None
