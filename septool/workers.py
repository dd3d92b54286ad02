"""Parallel map in several processes: ordered results, prompt cancellation, and detection of killed workers."""

import atexit
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes import c_byte
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from typing import Any, NamedTuple, TypeVar

from septool.errors import InterruptedBySignal, SeptoolError

Item = TypeVar("Item")
Result = TypeVar("Result")

FORKS = sys.platform == "linux"  # a process has all that this one has, at no cost; elsewhere that is not safe
AHEAD = 4  # items taken per process before the first of them is wanted
KILLED = "a worker process was killed, perhaps for lack of memory; use fewer --jobs"
TOO_LARGE = "for it; give the process more, or fewer --jobs"  # what there is not enough memory for
_stop: c_byte | None = None  # of this process, if it is a worker; set by its parent
_signal = ""  # the name of the one that asked this process to stop
_held = False  # whether a signal waits for the end of a piece of work that it must not cut


def each(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    *,
    killed: Callable[[Item], Result] | None = None,
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` in the order of the items, which are taken only a little ahead.

    Args:
        function: at the top level of a module; anything where processes are forked.
        items: may be endless; memory holds a few per process.
        jobs: processes at most, never more than items; 1 works in this one. They end when this one does, however that
            ends.
        killed: the result of an item whose process was killed; another process takes its place.

    Raises:
        SeptoolError: a process was killed, and there is no ``killed``.
    """
    if jobs == 1:
        for item in items:
            yield function(item)
            check_stopping()
        return
    pool = _Pool(function, jobs)
    # Whoever drops out of a loop over results may hold them to the end, at which Python waits for all processes.
    atexit.register(pool.cancel)
    source, exhausted = iter(items), False
    taken, wanted = 0, 0
    outcomes: dict[int, _Outcome] = {}
    try:
        while True:
            while not exhausted and pool.has_room and taken - wanted <= AHEAD * jobs:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                else:
                    pool.submit(taken, item)
                    taken += 1
            if wanted in outcomes:
                outcome = outcomes.pop(wanted)
                wanted += 1
                if outcome.lost:
                    if killed is None:
                        raise SeptoolError(KILLED)
                    yield killed(outcome.value)
                elif outcome.failed:
                    raise outcome.value
                else:
                    yield outcome.value
            elif wanted == taken:
                return
            else:
                outcomes |= pool.collect()
    except BaseException:
        pool.stop.value = True
        raise
    finally:
        pool.close()
        atexit.unregister(pool.cancel)


class _Outcome(NamedTuple):
    """What became of an item."""

    value: Any  # the result, the error, or the item of a process that was killed
    failed: bool = False
    lost: bool = False


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


class _Pool:
    """Processes that have an item each, so that of a killed one it is known what it held.

    One is started where an item waits and none is idle.
    """

    def __init__(self, function: Callable[..., object], jobs: int) -> None:
        self.jobs = jobs
        self.context = get_context("fork" if FORKS else "spawn")
        self.function, self.stop = function, RawValue("b")
        self.workers: list[_Worker] = []  # all that were started: an interrupted result leaves none out
        self.idle: list[_Worker] = []
        self.busy: dict[Connection, tuple[_Worker, int, object]] = {}

    def _start(self) -> _Worker:
        here, there = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(there, self.function, self.stop))  # pyright: ignore
        with _signals_held():  # one between the start and the list would leave a process that nobody ends
            process.start()
            there.close()  # so that its end is told by this pipe
            self.workers.append(_Worker(process, here))
        return self.workers[-1]

    @property
    def has_room(self) -> bool:
        """Whether an item can be submitted."""
        return bool(self.idle) or len(self.busy) < self.jobs

    def submit(self, number: int, item: object) -> None:
        """Give an item to an idle process, or to a new one."""
        worker = self.idle.pop() if self.idle else self._start()
        self.busy[worker.connection] = (worker, number, item)
        with _signals_held(), suppress(BrokenPipeError):  # half an item is none; killed while idle: collect tells
            worker.connection.send((item,))

    def collect(self) -> dict[int, _Outcome]:
        """Wait until an item or several are done."""
        outcomes = {}
        for connection in wait(list(self.busy)):
            worker, number, item = self.busy[connection]  # pyright: ignore
            try:
                with _signals_held():
                    outcomes[number] = worker.connection.recv()
                self.idle.append(worker)
            except (EOFError, OSError):
                outcomes[number] = _Outcome(item, lost=True)
                worker.connection.close()
                worker.process.join()
                self.workers.remove(worker)
            del self.busy[connection]  # pyright: ignore
        return outcomes

    def cancel(self) -> None:
        """End all processes soon, their items undone."""
        self.stop.value = True
        self.close()

    def close(self) -> None:
        """End all processes, each when its item is done."""
        for worker in self.workers:
            with suppress(OSError):  # killed
                worker.connection.send(())  # a closed pipe would not do: other processes have its end, too
        for worker in self.workers:
            # A result that nobody takes could keep it from ending, and so could the rest of one whose reading was cut.
            with suppress(EOFError, OSError):
                while True:
                    worker.connection.recv_bytes()
            worker.process.join()
            worker.connection.close()


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_processes(sizes: Sequence[int]) -> int:
    """Return how many processes work on items of sizes, in bytes, if nobody has said it.

    As many as there are processors where many small items keep all of them busy, each with one thread; otherwise one,
    with all threads.
    """
    count = cores()
    return count if 1 < count <= len(sizes) // 2 and count * max(sizes) <= sum(sizes) else 1


def start(*_: object) -> None:
    """Make a new process one of these; any arguments will do."""
    global _held, _signal
    _held, _signal = False, ""  # what reached a forked process before it was one of these was for its parent
    # Ctrl-C reaches every process of the terminal; the parent alone answers it. The parent's handler of
    # a termination is of no use here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A forked process has none of its parent's OpenMP threads and would wait for them for ever.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def interrupt(number: int, _: object = None) -> None:
    """Handle a signal that ends the process: raise here, and, should that be lost, at the next check.

    What a handler raises is lost where Python was called by a library that does not pass it on, such as libsndfile in
    the middle of a file.
    """
    global _signal
    _signal = signal.Signals(number).name
    if not _held:
        raise InterruptedBySignal(_signal)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let a signal that :func:`interrupt` handles wait for the end of the block."""
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False
    check_stopping()


def is_worker() -> bool:
    """Say whether this process is one of several that work on items."""
    return _stop is not None


def check_stopping() -> None:
    """Raise ``InterruptedBySignal`` if a signal, or the parent of this process, has asked to stop; for long work."""
    if _signal or (_stop and _stop.value):
        raise InterruptedBySignal(_signal or "SIGINT")


def _serve(connection: Connection, function: Callable[..., object], stop: c_byte) -> None:
    """Work on items until there are no more."""
    global _stop
    _stop = stop
    start()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while message := connection.recv():
        (item,) = message
        try:
            outcome = _Outcome(function(item))
        except BaseException as error:
            error.add_note(traceback.format_exc())  # tracebacks cannot be sent
            outcome = _Outcome(error, failed=True)
        try:
            connection.send(outcome)
        except Exception as error:  # it cannot be sent
            connection.send(_Outcome(RuntimeError(f"{type(outcome.value).__name__}: {error}"), failed=True))


def _end_with_parent() -> None:
    """End this process when its parent is gone: killed, it cannot say so, and output pipes would stay open."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
