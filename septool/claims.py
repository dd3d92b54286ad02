"""Claims on files that a run is about to write: a lock beside them, which the system takes away from a dead process."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from septool import locks
from septool.atomic import recover
from septool.files import sha256_of
from septool.workers import check_stopping

LOCK_SUFFIX = ".lock"
POLL_SECONDS = 0.1


@contextmanager
def claim(target: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Keep other runs on this machine from the files that begin with ``target`` until the block ends.

    Args:
        target: the first of the files.
        wait: called once, if another run works on them; raises if that is not to be waited for. A lock that is gone
            after a moment was of a run that only looked (:func:`is_claimed`).
    """
    if not locks.AVAILABLE:
        yield
        return
    path = _lock_path(target)
    attempts = count()
    while True:
        try:
            descriptor = locks.take_lock(path)
            break
        except BlockingIOError:
            if next(attempts) == 1:
                wait()
        except OSError:  # a folder that cannot be written to; writing the files tells
            yield
            return
        check_stopping()
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        locks.release_lock(path, descriptor)


def is_claimed(targets: Iterable[Path]) -> bool:
    """Return whether another run works on any of several groups of files, by the first of each."""
    return locks.AVAILABLE and any(locks.is_locked(_lock_path(target)) for target in targets)


def clear_remains(targets: Iterable[Path]) -> None:
    """Remove from the folders of files what killed processes left there: parts of files, and locks."""
    for folder in sorted({target.parent for target in targets}):
        if folder.is_dir() and os.access(folder, os.W_OK):
            recover(folder)
            for path in folder.glob(f".{'[0-9a-f]' * 16}{LOCK_SUFFIX}"):
                locks.clear_lock(path)


def _lock_path(target: Path) -> Path:
    return target.with_name(f".{sha256_of(os.fsencode(target.name))[:16]}{LOCK_SUFFIX}")
