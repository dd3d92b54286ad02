"""What runs tell each other through an output folder: which files are voices, and which recordings are being worked on.

A hidden list in the folder names the files that were written there, so that a later search for recordings leaves them
out, whatever model or name they have. A lock per recording, which the system takes away from a process that dies, keeps
two runs from the same files.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from septool.files import sha256_of
from septool.workers import check_stopping

try:
    import fcntl
except ImportError:  # Windows: two runs are told apart by their files alone
    fcntl = None

OUTPUT_LIST = ".septool-outputs.jsonl"  # a row for each file: its name and its bytes
LOCK_SUFFIX = ".lock"
POLL_SECONDS = 0.1


def record_outputs(paths: Sequence[Path]) -> None:
    """Add files that were just written to the lists of their folders."""
    for path in paths:
        row = json.dumps({"name": path.name, "bytes": path.stat().st_size}) + "\n"
        # One write of a line to the end of a file is whole, whoever else writes.
        with suppress(OSError), (path.parent / OUTPUT_LIST).open("ab", buffering=0) as file:
            file.write(row.encode())


class OutputLists:
    """The lists of all folders, each read once."""

    def __init__(self) -> None:
        self._sizes: dict[Path, dict[str, int]] = {}

    def is_output(self, path: Path) -> bool:
        """Say whether a file is one that was written here, and not another that has its name now."""
        if path.parent not in self._sizes:
            self._sizes[path.parent] = _read_list(path.parent / OUTPUT_LIST)
        listed = self._sizes[path.parent].get(path.name)
        try:
            return listed is not None and path.stat().st_size == listed
        except OSError:
            return False


def _read_list(path: Path) -> dict[str, int]:
    """Return the bytes of every file in a list; rows that cannot be read count for nothing."""
    sizes: dict[str, int] = {}
    try:
        rows = path.read_bytes().splitlines()
    except OSError:
        return sizes
    for row in rows:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            values = json.loads(row)
            sizes[str(values["name"])] = int(values["bytes"])
    return sizes


@contextmanager
def claim(target: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Keep other runs on this machine from the files that begin with ``target`` until the block ends.

    Args:
        target: the first file of a recording.
        wait: called once, if another run works on it.
    """
    if fcntl is None:
        yield
        return
    path = _lock_path(target)
    waiting = False
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:  # a folder that cannot be written to; writing the voices tells
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(file, path):  # and not one that its owner has just removed
                break
        except BlockingIOError:
            if not waiting:
                wait()
            waiting = True
        except OSError:  # a file system without locks
            break
        os.close(file)
        check_stopping()
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(file)


def is_claimed(targets: Iterable[Path]) -> bool:
    """Say whether another run works on one of several recordings, by their first files."""
    if fcntl is None:
        return False
    for target in targets:
        try:
            file = os.open(_lock_path(target), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        finally:
            os.close(file)
    return False


def clear_claims(folder: Path) -> None:
    """Remove the locks in a folder whose processes were killed; nobody holds them."""
    if fcntl is None:
        return
    for path in folder.glob(f".{'[0-9a-f]' * 16}{LOCK_SUFFIX}"):
        with suppress(OSError):
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same(file, path):
                    path.unlink()
            finally:
                os.close(file)


def _lock_path(target: Path) -> Path:
    return target.with_name(f".{sha256_of(os.fsencode(target.name))[:16]}{LOCK_SUFFIX}")


def _is_same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
