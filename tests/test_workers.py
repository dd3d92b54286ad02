"""Several processes: the order kept, the items not all at once, and a process that dies."""

import os
import signal
from collections.abc import Iterator

import pytest
import torch

from septool import workers
from septool.errors import AudioError, SeptoolError


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
