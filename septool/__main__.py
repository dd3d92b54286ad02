"""``python -m septool``, which is also what the ``septool`` command runs; it exits without tearing torch down."""

import atexit
import contextlib
import os
import signal
import sys
import threading

from septool.errors import InterruptedBySignal


def run() -> None:
    """Run the command line; never returns."""
    try:
        from septool.cli import main  # here, so that Ctrl-C while it is imported is none of Python's errors

        main()
    except KeyboardInterrupt:  # before the command line handles it
        sys.stderr.write("septool: interrupted\n")
        sys.exit(128 + signal.SIGINT)
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            end_process(ended.code or 0)
        raise


def end_process(status: int) -> None:
    """End at once, after all that Python would see to at its end but taking its modules apart; else return.

    Torch's takes a second, and gives back nothing that the system does not take back with the process; and where a
    thread still computes, the process is aborted meanwhile. What may not be skipped: threads that were not asked to end
    with the process, which are waited for; what was asked for at the end (temporary files, worker processes, logs, a
    measurement of coverage), which runs here, both in Python's own order; and what is still in the buffers of the
    standard streams, of which Python itself says if it goes nowhere. Every other file is closed by who has opened it:
    the tests fail where one is left open.
    """
    if "torch" not in sys.modules:
        return
    with contextlib.suppress(InterruptedBySignal):  # who asks again does not want to wait
        threading._shutdown()  # type: ignore[attr-defined]  # as Python does first; it does not wait twice
    atexit._run_exitfuncs()  # none is left for Python to run again
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(status & 0xFF)


if __name__ == "__main__":
    run()
