"""What a piece of work takes: by the clock, and of processor time, in which other work on the machine is not."""

import resource
import time
from collections.abc import Callable
from typing import NamedTuple


class Taken(NamedTuple):
    """Seconds by the clock, and of processor time."""

    wall: float
    cpu: float


def processor_seconds() -> float:
    """Return what this process and those that it waited for have used."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(work: Callable[[], object]) -> Taken:
    """Return what a piece of work takes, in this process and those that it waits for."""
    before, start = processor_seconds(), time.perf_counter()
    work()
    return Taken(time.perf_counter() - start, processor_seconds() - before)
