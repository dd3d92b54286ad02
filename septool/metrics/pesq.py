"""Perceptual evaluation of speech quality (ITU-T P.862, wide band P.862.2)."""

# pyright: reportMissingTypeStubs=false

import json
import subprocess
import sys
from typing import Any

import numpy as np

from septool.metrics import UndefinedError

MODES = {8000: "nb", 16000: "wb"}
# Seconds from which a recording might have more utterances than P.862's code has room for, 50: it writes beyond that.
LONG = 20
CRASHES = (-6, -7, -10, -11, 0xC0000005, 0xC0000374)  # a process's status where it wrote beyond: signals; Windows


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
    value = (_in_another_process if len(reference) > LONG * rate else _pesq)(rate, *signals)
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
    """Do the same where a crash ends nothing else.

    A process of multiprocessing would not do: those of a cluster may have no children of that kind.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(rate)],
        input=np.stack([reference, estimate]).tobytes(),
        capture_output=True,
        check=False,
    )
    if done.returncode in CRASHES:
        return "the recording has more utterances than P.862's code has room for"
    if done.returncode:
        messages = done.stderr.decode(errors="replace").splitlines() or [f"status {done.returncode}"]
        return f"the process that computes it failed: {messages[-1]}"
    return json.loads(done.stdout)


def main() -> None:
    """Score the two signals on standard input, float32 one after the other; the rate is the argument."""
    reference, estimate = np.frombuffer(sys.stdin.buffer.read(), dtype=np.float32).reshape(2, -1)
    sys.stdout.write(json.dumps(_pesq(int(sys.argv[1]), reference, estimate)))


if __name__ == "__main__":
    main()
