"""Doing the same to many items in several processes: results in order, stopped at once, in words if one dies."""

import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.sharedctypes import RawValue
from typing import Any, TypeVar

from septool.errors import SeptoolError

Item = TypeVar("Item")
Result = TypeVar("Result")

FORKS = sys.platform == "linux"  # a process has all that this one has, at no cost; elsewhere that is not safe
_function: Callable[[Any], Any]  # of this process, if it is a worker
_stop: Any = None  # set by its parent


def each(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yield ``function(item)`` in the order of the items, which are taken only a little ahead.

    Args:
        function: at the top level of a module; anything where processes are forked.
        items: may be endless; memory holds a few per process.
        jobs: processes; 1 works in this one.

    Raises:
        SeptoolError: a process was killed.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    context = get_context("fork" if FORKS else None)
    stop = RawValue("b")
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(function, stop))
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(_call, item))
            if len(pending) > 4 * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise SeptoolError("a worker process was killed, perhaps for lack of memory; use fewer --jobs") from None
    except BaseException:
        stop.value = True
        raise
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


def stopping() -> bool:
    """Say whether the parent of this process wants no more; to be asked where an item takes long."""
    return bool(_stop and _stop.value)


def _begin(function: Callable[[Any], Any], stop: Any) -> None:
    global _function, _stop
    _function, _stop = function, stop
    start()


def _call(item: Any) -> Any:
    return _function(item)
