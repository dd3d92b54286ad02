"""Several processes: the order kept, the items not all at once, and a process that dies."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
import torch

from septool import workers
from septool.errors import AudioError, InterruptedBySignal, SeptoolError
from tests.conftest import ROOT


def square(n: int) -> int:
    return n * n


def fail(n: int) -> int:
    raise AudioError(f"{n} is bad")


def die(n: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return n


def add_up(n: int) -> float:
    return torch.ones(1 << n).cumsum(0).sum().item()


def interrupted(n: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return n


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    assert list(workers.each(square, range(40), jobs)) == [n * n for n in range(40)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_items_are_taken_only_a_little_ahead(jobs: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            yield n

    results = workers.each(square, items(), jobs)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(taken) <= 5 + 4 * jobs
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_an_item_is_the_callers(jobs: int) -> None:
    with pytest.raises(AudioError, match="0 is bad"):
        list(workers.each(fail, range(3), jobs))


def test_a_process_that_is_killed_is_told_in_words() -> None:
    with pytest.raises(SeptoolError, match="a worker process was killed, perhaps for lack of memory; use fewer --jobs"):
        list(workers.each(die, range(3), 2))


def die_of_two(n: int) -> int:
    return die(n) if n == 2 else square(n)


def test_a_process_that_is_killed_loses_its_own_item_alone() -> None:
    results = list(workers.each(die_of_two, range(12), 2, killed=lambda n: -n))
    assert results == [-2 if n == 2 else n * n for n in range(12)]


def wait_for_the_end(folder: Path, n: int) -> None:
    (folder / f"{n}.{os.getpid()}").touch()
    time.sleep(120)


PARENT = """
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which a suite that outlives its terminal ignores
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from septool import workers
from tests.test_workers import wait_for_the_end
list(workers.each(partial(wait_for_the_end, Path(sys.argv[1])), range(2), 2))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGHUP])
def test_processes_end_with_their_parent_however_that_ends(tmp_path: Path, end: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    try:
        limit = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < limit:
            time.sleep(0.05)
        assert len(list(tmp_path.iterdir())) == 2
        parent.send_signal(end)
        # Whoever reads the command's output waits for the last process that can write to it.
        assert parent.communicate(timeout=60)[0] == b""
    finally:
        for path in tmp_path.iterdir():
            with suppress(ProcessLookupError):
                os.kill(int(path.suffix[1:]), signal.SIGKILL)


DROPS_OUT = """
import time
from septool import workers

def work(n):
    while n:
        workers.check_stopping()
        time.sleep(0.01)

results = workers.each(work, range(9), 2)
next(results)
raise ValueError("enough")
"""


@pytest.mark.skipif(not workers.FORKS, reason="processes are not forked on this system")
def test_whoever_holds_results_without_taking_them_ends_all_the_same() -> None:
    command = [sys.executable, "-c", DROPS_OUT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "ValueError: enough"


class Unsendable:
    def __reduce__(self) -> str:
        raise TypeError("not to be sent")


def unsendable(_: int) -> Unsendable:
    return Unsendable()


def test_a_result_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="Unsendable: not to be sent"):
        list(workers.each(unsendable, range(2), 2))


def large(n: int) -> bytes:
    return bytes(2**20) if n else b""


def test_results_that_nobody_takes_keep_no_process_from_ending() -> None:
    results = workers.each(large, range(9), 2)
    assert next(results) == b""
    results.close()  # type: ignore[attr-defined]


def cut(connection: Connection) -> None:
    os.read(connection.fileno(), 4)  # the length of a result
    raise KeyboardInterrupt


@pytest.mark.parametrize("be_interrupted", [cut, lambda _: workers.interrupt(signal.SIGTERM)])
def test_a_signal_while_a_result_is_read_leaves_no_process_behind(
    monkeypatch: pytest.MonkeyPatch, be_interrupted: Callable[[Connection], None]
) -> None:
    monkeypatch.setattr(workers, "_signal", "")
    parent, recv = os.getpid(), Connection.recv

    def receive(connection: Connection) -> object:
        if os.getpid() == parent:
            be_interrupted(connection)
        return recv(connection)

    monkeypatch.setattr(Connection, "recv", receive)
    with pytest.raises((InterruptedBySignal, KeyboardInterrupt)):
        list(workers.each(large, range(1, 9), 2))
    assert not multiprocessing.active_children()


def test_a_signal_while_a_process_starts_waits_until_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_signal", "")
    start = ForkProcess.start

    def be_interrupted(process: ForkProcess) -> None:
        start(process)
        workers.interrupt(signal.SIGTERM)

    monkeypatch.setattr(ForkProcess, "start", be_interrupted)
    with pytest.raises(InterruptedBySignal):
        list(workers.each(square, range(9), 2))
    assert not multiprocessing.active_children()


def linger(folder: Path, _: int) -> None:
    (folder / "begun").touch()
    for _ in range(2000):
        try:
            workers.check_stopping()
        except InterruptedBySignal:
            (folder / "stopped").touch()
            raise
        time.sleep(0.01)


def test_what_takes_long_can_ask_whether_to_stop(tmp_path: Path) -> None:
    def items() -> Iterator[int]:
        yield 0
        end = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        raise InterruptedBySignal("SIGINT")

    with pytest.raises(InterruptedBySignal):
        list(workers.each(partial(linger, tmp_path), items(), 2))
    assert (tmp_path / "stopped").exists()
    workers.check_stopping()  # raises nothing: this process was not asked to


def test_a_signal_whose_error_a_library_kept_for_itself_is_raised_at_the_next_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_signal", "")

    def lose(n: int) -> int:
        with suppress(InterruptedBySignal):
            workers.interrupt(signal.SIGTERM)
        return n

    results = workers.each(lose, range(3), 1)
    assert next(results) == 0
    with pytest.raises(InterruptedBySignal) as error:
        next(results)
    assert error.value.status == 143


@pytest.mark.skipif(not workers.FORKS, reason="processes are not forked on this system")
def test_a_forked_process_has_what_cannot_be_sent() -> None:
    lock = threading.Lock()
    assert list(workers.each(lambda n: (lock.locked(), n), range(3), 2)) == [(False, 0), (False, 1), (False, 2)]


def test_an_interrupt_is_left_to_the_parent() -> None:
    assert list(workers.each(interrupted, range(3), 2)) == [0, 1, 2]


def test_torch_works_in_a_process_after_it_has_worked_in_this_one() -> None:
    # With the parent's OpenMP threads gone, a child that asks for several waits for ever.
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.ones(1 << 20).exp().sum()
        assert list(workers.each(add_up, [18, 19], 2)) == [add_up(18), add_up(19)]
    finally:
        torch.set_num_threads(threads)


def test_there_are_never_more_processes_than_items(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start = workers._Pool._start
    monkeypatch.setattr(workers._Pool, "_start", lambda pool: started.append(1) or start(pool))
    assert list(workers.each(str, range(3), jobs=1_000_000)) == ["0", "1", "2"]
    assert len(started) == 3


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "5000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
    ],
)
def test_the_quota_of_a_container_limits_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr(workers, "CGROUP", tmp_path)
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert workers.cores() == cores
