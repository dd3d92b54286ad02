"""Interrupting a run between two steps, after its state is saved."""

import signal
import threading
from collections.abc import Callable
from types import FrameType


class Interrupt:
    """Catches SIGINT and SIGTERM while the block runs; ``reraise`` lets them take effect.

    A second SIGINT ends at once. A second SIGTERM does not: a scheduler sends it to every process, and torchrun
    forwards it again to its children.
    """

    def __init__(self) -> None:
        self.signal_number = 0  # the first signal
        self._handlers: dict[int, Callable[[int, FrameType | None], object] | int] = {}  # previous handlers

    @property
    def received(self) -> bool:
        """Whether this process has received a signal."""
        return self.signal_number > 0

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():  # only the main thread receives signals
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if handler is not None:  # one that is not of Python's could not be put back
                    self._handlers[number] = handler
                    signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _catch(self, number: int, _: FrameType | None) -> None:
        again = self.received and number == signal.SIGINT
        self.signal_number = self.signal_number or number
        if again:
            self.reraise()

    def reraise(self) -> None:
        """End as the signal would have; without one, report that another process of the run received it."""
        self.__exit__()
        signal.raise_signal(self.signal_number or signal.SIGTERM)
