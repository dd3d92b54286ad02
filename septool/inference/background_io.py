"""Reading and writing in background threads while the model computes."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")

DEPTH = 2  # queue length
POLL_S = 0.1  # interval at which either side checks that the other still runs


class _End:
    """The end of the queue, with the exception that ended it, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Ahead(Generic[Item]):
    """A queue of items that a background thread produces."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.queue: Queue[Item | _End] = Queue(DEPTH)
        self.dropped = threading.Event()
        self.thread = threading.Thread(target=self._make, args=(items,), name="septool-read", daemon=True)
        self.thread.start()

    def _make(self, items: Iterable[Item]) -> None:
        end = _End()
        try:
            for item in items:
                if not self._put(item):
                    return
        except BaseException as error:  # raised again in the consumer
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
def read_ahead(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """Produce the next items in a background thread while the current one is used.

    The thread ends with the block, whether or not all items were consumed.

    Args:
        items: their exceptions are raised in the consumer, in order.
    """
    ahead = _Ahead(items)
    try:
        yield iter(ahead)
    finally:
        ahead.dropped.set()
        ahead.thread.join()


@contextmanager
def write_behind(write: Callable[[Item], object]) -> Iterator[Callable[[Item], None]]:
    """Write items in a background thread, in order, while the next one is produced.

    All items are written when the block ends; if the block raises, queued items are dropped.

    Args:
        write: writes an item. Its exception is raised at the next item or at the end of the block; nothing is written
            after it.
    """
    queue: Queue[Item | _End] = Queue(DEPTH)
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
            except BaseException as error:  # raised again in the producer
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
