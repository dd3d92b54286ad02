"""Ending between two steps: a run that is asked to end leaves a state to go on from first."""

import signal
import threading
from types import FrameType
from typing import Any


class Stop:
    """Notes the signals that ask a program to end, while the block runs; ``answer`` lets them have their way.

    A second SIGINT ends at once. A second SIGTERM does not: a scheduler sends it to every process, and torchrun, which
    gets it too, once more to those that it has started.
    """

    def __init__(self) -> None:
        self.asked = 0  # the number of the signal that came first
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():  # no other hears signals
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        again = self.asked and number == signal.SIGINT
        self.asked = self.asked or number
        if again:
            self.answer()

    def answer(self) -> None:
        """End as the signal would have; if none came here, another process of the run has heard one."""
        self.__exit__()
        signal.raise_signal(self.asked or signal.SIGTERM)
