"""The lock on the folder of a run, released by the system however the process ends."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from septool import locks
from septool.errors import UsageError
from septool.files import make_folder

LOCK = ".lock"
_held: set[int] = set()  # file descriptors


def _close_inherited() -> None:
    """Close the parent's locks in a forked process, since a worker that outlives it must not hold them."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if locks.AVAILABLE:
    os.register_at_fork(after_in_child=_close_inherited)


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Lock a run's folder during the block; it is created if missing, and removed if it stays empty.

    Raises:
        UsageError: another process holds it.
    """
    if not locks.AVAILABLE:
        yield
        return
    is_new, path = not folder.exists(), folder / LOCK
    make_folder(folder)
    try:
        descriptor = locks.take_lock(path)
    except BlockingIOError:
        raise UsageError(
            f"{folder} is the folder of a run that is training now ({_holder(path)}); "
            "wait for its end, or choose another folder"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)
        locks.release_lock(path, descriptor)
        if is_new:
            with suppress(OSError):
                folder.rmdir()  # fails unless the folder is empty


def _holder(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")[:200] or "another process"
    return "another process"
