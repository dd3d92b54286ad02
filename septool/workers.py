"""Parallel map in several processes: ordered results, prompt cancellation, and detection of killed workers."""

import atexit
import logging
import math
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
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from septool.errors import InterruptedBySignal, SeptoolError

Item = TypeVar("Item")
Result = TypeVar("Result")

FORKS = sys.platform == "linux"  # forking is safe and inherits everything at no cost; elsewhere it is not safe
AHEAD = 4  # items prefetched per process
KILLED = "a worker process was killed, perhaps for lack of memory; use fewer --jobs"
TOO_LARGE = "for it; give the process more, or fewer --jobs"  # completes a message about lack of memory
CGROUP = Path("/sys/fs/cgroup")
_stop: c_byte | None = None  # shared flag of a worker process, set by its parent
_signal = ""  # name of the signal that asked this process to stop
_held = False  # whether signals are deferred to the end of a critical section


def each(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    *,
    killed: Callable[[Item], Result] | None = None,
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` in the order of the items, which are prefetched in small numbers.

    Args:
        function: a top-level function of a module; any callable where processes are forked.
        items: possibly infinite; memory holds a few per process.
        jobs: maximum number of processes, never more than items; 1 runs in this process. Workers end with this process,
            however it ends.
        killed: returns the result of an item whose process was killed; another process replaces it.

    Raises:
        SeptoolError: a process was killed and ``killed`` is not given.
        ValueError: no processes.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it has to be at least 1")
    if jobs == 1:
        for item in items:
            yield function(item)
            check_stopping()
        return
    pool = _Pool(function, jobs)
    # A consumer that leaves its loop early may keep the generator until Python exits, which waits for all processes.
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
    """The outcome of an item."""

    value: Any  # the result, the error, or the item of a process that was killed
    failed: bool = False
    lost: bool = False


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


class _Pool:
    """Processes with one item each, so that the item of a killed process is known.

    A process is started when an item waits and no process is idle.
    """

    def __init__(self, function: Callable[..., object], jobs: int) -> None:
        self.jobs = jobs
        self.context = get_context("fork" if FORKS else "spawn")
        self.function, self.stop = function, RawValue("b")
        self.workers: list[_Worker] = []  # all started processes, so that an interrupt loses none
        self.idle: list[_Worker] = []
        self.busy: dict[Connection, tuple[_Worker, int, object]] = {}

    def _start(self) -> _Worker:
        here, there = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(there, self.function, self.stop))  # pyright: ignore
        with _signals_held():  # a signal between start and append would leak the process
            process.start()
            there.close()  # so that this pipe reports the end of the process
            self.workers.append(_Worker(process, here))
        return self.workers[-1]

    @property
    def has_room(self) -> bool:
        """Whether an item can be submitted."""
        return bool(self.idle) or len(self.busy) < self.jobs

    def submit(self, number: int, item: object) -> None:
        """Send an item to an idle process, or to a new one."""
        worker = self.idle.pop() if self.idle else self._start()
        self.busy[worker.connection] = (worker, number, item)
        with _signals_held(), suppress(BrokenPipeError):  # collect reports a process killed while idle
            worker.connection.send((item,))

    def collect(self) -> dict[int, _Outcome]:
        """Wait until at least one item is done."""
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
        """Ask all processes to end soon, abandoning their items."""
        self.stop.value = True
        self.close()

    def close(self) -> None:
        """End all processes, each after its current item."""
        for worker in self.workers:
            with suppress(OSError):  # killed
                worker.connection.send(())  # closing the pipe is not enough: other processes inherited its end
        for worker in self.workers:
            # An unread result, or the rest of one whose reading was interrupted, could keep the process from ending.
            with suppress(EOFError, OSError):
                while True:
                    worker.connection.recv_bytes()
            worker.process.join()
            worker.connection.close()


def cores() -> int:
    """Return the number of CPU cores available to this process, as far as the quota of its container goes."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(math.ceil(min(count, _cpu_quota())), 1)


def _cpu_quota() -> float:
    """Return how many processors' time the control group of a container allows, infinity without a limit."""
    limits = [("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")]  # cgroup version 2, then 1
    for names in limits:
        with suppress(OSError, ValueError):  # no such file; "max"
            quota, period = map(int, " ".join((CGROUP / name).read_text() for name in names).split())
            if quota > 0 and period > 0:  # -1 is no limit
                return quota / period
    return math.inf


def choose_processes(sizes: Sequence[int]) -> int:
    """Return the default number of processes for items of given sizes in bytes.

    One single-threaded process per core if many small items keep all of them busy; otherwise one process with all
    threads.
    """
    count = cores()
    return count if 1 < count <= len(sizes) // 2 and count * max(sizes) <= sum(sizes) else 1


def start(*_: object) -> None:
    """Initialize this process as a worker; any arguments are accepted."""
    global _held, _signal
    _held, _signal = False, ""  # signals before this point were meant for the parent
    # Ctrl-C reaches every process of the terminal, but only the parent handles it. The parent's handler of
    # SIGTERM does not apply to workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A forked process lacks its parent's OpenMP threads and would wait for them forever.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def interrupt(number: int, _: object = None) -> None:
    """Handle a terminating signal: raise here and, in case that exception is lost, at the next check.

    An exception in a handler is lost if Python was called back by a library that does not propagate it, such as
    libsndfile while it reads a file.
    """
    global _signal
    _signal = signal.Signals(number).name
    if not _held:
        raise InterruptedBySignal(_signal)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Defer signals handled by :func:`interrupt` to the end of the block."""
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False
    check_stopping()


def is_main_process() -> bool:
    """Return whether this process is the one that prints among those that torchrun may have started."""
    return os.environ.get("RANK", "0") == "0"


def warning_level() -> int:
    """Return the level at which to log a warning that several processes of a run may have: the main one warns."""
    return logging.WARNING if is_main_process() else logging.INFO


def is_worker() -> bool:
    """Return whether this process is a worker."""
    return _stop is not None


def check_stopping() -> None:
    """Raise ``InterruptedBySignal`` if a signal or the parent process has asked to stop; called during long work."""
    if _signal or (_stop and _stop.value):
        raise InterruptedBySignal(_signal or "SIGINT")


def _serve(connection: Connection, function: Callable[..., object], stop: c_byte) -> None:
    """Process items until the parent sends no more."""
    global _stop
    _stop = stop
    start()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while message := connection.recv():
        (item,) = message
        try:
            outcome = _Outcome(function(item))
        except BaseException as error:
            error.add_note(traceback.format_exc())  # tracebacks cannot be pickled
            outcome = _Outcome(error, failed=True)
        try:
            connection.send(outcome)
        except Exception as error:  # the result cannot be pickled
            connection.send(_Outcome(RuntimeError(f"{type(outcome.value).__name__}: {error}"), failed=True))


def _end_with_parent() -> None:
    """End this process when its parent has died, which otherwise leaves output pipes open."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
