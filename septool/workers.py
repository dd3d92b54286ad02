"""Doing the same to many items in several processes: results in order, stopped at once, in words if one dies."""

import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from septool.errors import SeptoolError

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yield ``function(item)`` in the order of the items, which are taken only a little ahead.

    Args:
        function: at the top level of a module.
        items: may be endless; memory holds a few per process.
        jobs: processes; 1 works in this one.

    Raises:
        SeptoolError: a process was killed.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(jobs, initializer=start)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 4 * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise SeptoolError("a worker process was killed, perhaps for lack of memory; use fewer --jobs") from None
    finally:
        pool.shutdown(cancel_futures=True)


def start(*_: object) -> None:
    """Make a new process one of these; any arguments will do."""
    # Ctrl-C reaches every process of the terminal; the parent alone answers it. The parent's handler of
    # a termination is of no use here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A forked process has none of its parent's OpenMP threads and would wait for them for ever.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
