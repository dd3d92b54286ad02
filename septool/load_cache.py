"""Keeping what was loaded from files, such as networks, for as long as the files stay the same."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

Loaded = TypeVar("Loaded")
Stamp = tuple[int, int, int]  # modification time, size and inode of a file
Kept = OrderedDict[Path, tuple[Stamp, dict[Hashable, Any]]]  # what was loaded from each file, the last used one last
_KEPT: ContextVar[tuple[int, Kept] | None] = ContextVar("kept", default=None)


@contextmanager
def keep_loaded(most: int) -> Iterator[None]:
    """Let :func:`load_once` keep, in this thread, what was loaded from up to ``most`` files."""
    token = _KEPT.set((most, OrderedDict()))
    try:
        yield
    finally:
        _KEPT.reset(token)


def load_once(path: Path, what: Hashable, load: Callable[[], Loaded]) -> Loaded:
    """Return what ``load`` makes of a file, or what it made before within :func:`keep_loaded`.

    Files that have changed since are loaded anew; those that were used least recently make room for others.

    Args:
        path: the file.
        what: tells apart what is loaded from one file.
        load: loads it.
    """
    kept = _KEPT.get()
    if kept is None:
        return load()
    most, files = kept
    key = path.absolute()
    try:
        status = path.stat()
    except OSError:  # which loading it explains
        return load()
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    if key in files and files[key][0] != stamp:
        del files[key]
    while key not in files and len(files) >= most:
        files.popitem(last=False)
    _, loaded = files.setdefault(key, (stamp, {}))
    files.move_to_end(key)
    if what not in loaded:
        loaded[what] = load()
    return loaded[what]
