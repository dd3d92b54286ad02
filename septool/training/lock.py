"""The lock on the folder of a run, released by the system however the process ends."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from septool.errors import UsageError
from septool.files import make_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
_held: set[int] = set()  # file descriptors


def _close_inherited() -> None:
    """Let go of the locks of the parent in a forked process: a worker that outlives it must not hold them."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if fcntl:
    os.register_at_fork(after_in_child=_close_inherited)


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder, made if it is missing, for the block; removed again if nothing else came into it.

    Raises:
        UsageError: another process holds it.
    """
    if fcntl is None:
        yield
        return
    is_new, path = not folder.exists(), folder / LOCK
    make_folder(folder)
    descriptor = _lock(path)
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)
        with suppress(OSError):
            path.unlink()
            if is_new:
                folder.rmdir()  # fails where there is something in it
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Return the descriptor of the locked file."""
    assert fcntl
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise UsageError(
                f"{path.parent} is the folder of a run that is training now ({holder}); "
                "wait for its end, or choose another --out"
            ) from None
        except OSError:  # a file system without locks
            return descriptor
        # The holder before may have removed the file between its opening and its locking here.
        with suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
        os.close(descriptor)
