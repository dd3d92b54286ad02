"""Locks on files, which the system takes away from a process however it ends."""

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nobody is kept out
    fcntl = None

AVAILABLE = fcntl is not None


def take_lock(path: Path) -> int:
    """Lock a file, made if it is missing; on a file system without locks it is only opened.

    Returns:
        Its descriptor, by whose closing the lock is let go.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be opened.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _lock(descriptor)
        # The holder before may have removed the file between its opening and its locking here.
        if _is_same(descriptor, path):
            return descriptor
        os.close(descriptor)


def release_lock(path: Path, descriptor: int) -> None:
    """Remove a file that this process has locked, and let go of it."""
    with suppress(OSError):
        path.unlink()
    os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether another process holds a file, which may be missing."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        _lock(descriptor)
    except BlockingIOError:
        return True
    except OSError:
        return False
    os.close(descriptor)
    return False


def clear_lock(path: Path) -> None:
    """Remove a file that was locked by a process that is gone; one that is held stays."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        _lock(descriptor)
        if _is_same(descriptor, path):
            release_lock(path, descriptor)
        else:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock an open file, or close it: BlockingIOError says that another process holds it."""
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        pass


def _is_same(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one that bears a name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
