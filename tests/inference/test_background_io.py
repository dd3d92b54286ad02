"""Threads that read and write: the same items in the same order, what they raise, and none of them left."""

import threading
from collections.abc import Iterator

import pytest

from septool.inference.background_io import DEPTH, read_ahead, write_behind


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("septool-")]


def counted(until: int, made: list[int], error: Exception | None = None) -> Iterator[int]:
    for number in range(until):
        made.append(number)
        yield number
    if error is not None:
        raise error


def test_items_come_in_their_order() -> None:
    with read_ahead(counted(100, [])) as items:
        assert list(items) == list(range(100))
    assert not threads()


def test_only_a_few_are_made_ahead() -> None:
    made: list[int] = []
    with read_ahead(counted(1000, made)) as items:
        assert next(items) == 0
    assert len(made) <= 1 + DEPTH + 1  # one taken, those that wait, one in the thread's hand
    assert not threads()


def test_what_reading_raises_comes_when_its_turn_does() -> None:
    taken = []
    with pytest.raises(ValueError, match="no more"), read_ahead(counted(5, [], ValueError("no more"))) as items:
        taken += list(items)
    assert not threads()
    with read_ahead(counted(5, [], ValueError("no more"))) as items:
        for number in range(5):
            assert next(items) == number
        with pytest.raises(ValueError, match="no more"):
            next(items)


def test_a_reader_ends_with_whoever_fails() -> None:
    with pytest.raises(KeyError), read_ahead(counted(10**9, [])) as items:  # noqa: PT012
        next(items)
        raise KeyError
    assert not threads()


def test_items_are_written_in_their_order_before_the_end() -> None:
    written: list[int] = []
    with write_behind(written.append) as write:
        for number in range(100):
            write(number)
    assert written == list(range(100))
    assert not threads()


@pytest.mark.parametrize("given", [1, 50])
def test_what_writing_raises_is_raised_and_ends_it(given: int) -> None:
    written: list[int] = []

    def full(number: int) -> None:
        if written:
            raise OSError("disk full")
        written.append(number)

    with pytest.raises(OSError, match="disk full"), write_behind(full) as write:  # noqa: PT012
        for number in range(1 + given):
            write(number)
    assert written == [0]
    assert not threads()


def test_what_waits_is_dropped_where_the_block_fails() -> None:
    written: list[int] = []
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(number: int) -> None:
        begun.set()
        may_go_on.wait(10)
        written.append(number)

    with pytest.raises(KeyError), write_behind(slow) as write:  # noqa: PT012
        write(0)
        begun.wait(10)
        write(1)
        threading.Timer(0.05, may_go_on.set).start()
        raise KeyError
    assert written == [0]
    assert not threads()
