"""Reading and writing in background threads while the model computes."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")

DEPTH = 2  # items that wait
POLL_S = 0.1  # after which one side notices that the other has ended


class _End:
    """What comes after the last item: nothing, or why there is no other."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Ahead(Generic[Item]):
    """Items that a thread makes before they are wanted."""

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        self.queue: Queue[Item | _End] = Queue(depth)
        self.dropped = threading.Event()
        self.thread = threading.Thread(target=self._make, args=(items,), name="septool-read", daemon=True)
        self.thread.start()

    def _make(self, items: Iterable[Item]) -> None:
        end = _End()
        try:
            for item in items:
                if not self._put(item):
                    return
        except BaseException as error:  # raised again by whoever takes the items
            end = _End(error)
        self._put(end)

    def _put(self, item: Item | _End) -> bool:
        while not self.dropped.is_set():
            with suppress(Full):
                self.queue.put(item, timeout=POLL_S)
                return True
        return False

    def __iter__(self) -> Iterator[Item]:
        while not isinstance(item := self.queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error


@contextmanager
def read_ahead(items: Iterable[Item], depth: int = DEPTH) -> Iterator[Iterator[Item]]:
    """Have a thread make the next items while the last one is used.

    The thread has ended when the block has, whether or not all items were taken.

    Args:
        items: raise what they raise when their turn comes.
        depth: how many wait at most.
    """
    ahead = _Ahead(items, depth)
    try:
        yield iter(ahead)
    finally:
        ahead.dropped.set()
        ahead.thread.join()


@contextmanager
def write_behind(write: Callable[[Item], object], depth: int = DEPTH) -> Iterator[Callable[[Item], None]]:
    """Have a thread write items, in their order, while the next one is made.

    All are written when the block ends; where it fails, those that waited are not.

    Args:
        write: writes an item. What it raises is raised where the next item is given, or at the end of the block, and
            nothing is written after it.
        depth: how many wait at most.
    """
    queue: Queue[Item | _End] = Queue(depth)
    failures: list[BaseException] = []
    dropped = threading.Event()

    def work() -> None:
        while not dropped.is_set():
            try:
                item = queue.get(timeout=POLL_S)
            except Empty:
                continue
            if isinstance(item, _End):
                return
            try:
                write(item)
            except BaseException as error:  # raised again by whoever gives the items
                failures.append(error)
                return

    def put(item: Item | _End) -> None:
        while not failures:
            with suppress(Full):
                queue.put(item, timeout=POLL_S)
                return
        raise failures[0]

    thread = threading.Thread(target=work, name="septool-write", daemon=True)
    thread.start()
    try:
        yield put
        put(_End())
        thread.join()
    finally:
        dropped.set()
        thread.join()
    if failures:
        raise failures[0]
