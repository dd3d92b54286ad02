"""Perceptual evaluation of speech quality (ITU-T P.862, wide band P.862.2)."""

# pyright: reportMissingTypeStubs=false

from multiprocessing import get_context
from typing import Any

import numpy as np

from septool import workers
from septool.metrics import UndefinedError

MODES = {8000: "nb", 16000: "wb"}
# Seconds from which a recording might have more utterances than P.862's code has room for, 50: it writes beyond that.
LONG = 20


def pesq_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:
    """PESQ of one signal ``[time]``, as MOS-LQO from 1 to about 4.6; higher is better.

    Narrow band at 8000 Hz, wide band at 16000 Hz; the standard defines no other rates.

    Raises:
        UndefinedError: another rate, less than a quarter second, no utterance found, or too many.
    """
    if rate not in MODES:
        raise UndefinedError(f"PESQ is defined at 8000 and 16000 Hz, not at {rate}; --sample-rate resamples")
    if not np.any(estimate):
        raise UndefinedError("the estimate is silent")
    signals = reference.astype(np.float32), estimate.astype(np.float32)
    apart = len(reference) > LONG * rate and workers.FORKS
    value = _in_another_process(rate, *signals) if apart else _pesq(rate, *signals)
    if isinstance(value, str):
        raise UndefinedError(value)
    return value


def _pesq(rate: int, reference: np.ndarray, estimate: np.ndarray) -> float | str:
    """Return the value, or why there is none."""
    import pesq  # its C extension costs start-up time

    untyped: Any = pesq
    try:
        return float(untyped.pesq(rate, reference, estimate, MODES[rate]))
    except (untyped.PesqError, ValueError) as error:
        text = error.args[0] if error.args else type(error).__name__
        reason = text.decode() if isinstance(text, bytes) else str(text)
        return reason.rstrip(".!").lower()


def _in_another_process(rate: int, reference: np.ndarray, estimate: np.ndarray) -> float | str:
    """Do the same where a crash ends nothing else."""
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(_pesq(rate, reference, estimate)))
    child.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return "the recording has more utterances than P.862's code has room for"
    finally:
        ours.close()
        child.join()
