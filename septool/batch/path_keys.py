"""Keys of paths: one for each file, whatever link, case or Unicode form a path to it has."""

import os
import unicodedata
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from septool.files import is_there


def abspath_key(path: Path) -> str:
    """Return a key shared by all paths to one file, through whatever links to its folder.

    A file that is a link is distinct from its target, since a voice would replace the link.
    """
    folder, ignores_case = _real_folder(str(Path.cwd() / path.parent))
    key = str(Path(folder) / path.name)
    return unicodedata.normalize("NFC", key).casefold() if ignores_case else key


def keys_read(path: Path) -> set[str]:
    """Return the keys of what must not be replaced while a recording is read: its own, and of a link, what it leads to.

    See :func:`abspath_key`.
    """
    return {abspath_key(path)} | ({abspath_key(Path(os.path.realpath(path)))} if path.is_symlink() else set())


@lru_cache(maxsize=2**14)  # many recordings lie in few folders, on a disk that may be far away
def _real_folder(folder: str) -> tuple[str, bool]:
    """Return where a folder is, and whether names of files in it differ in more than their case."""
    real = os.path.realpath(folder)
    return real, _ignores_case(Path(real))


def _ignores_case(folder: Path) -> bool:
    """Return whether a folder is found under its name in other case, as on macOS and Windows; there may be none yet."""
    other = folder.parent / folder.name.swapcase()
    if folder.name and (str(other) == str(folder) or not is_there(folder)):
        return _ignores_case(folder.parent)
    with suppress(OSError):
        return bool(folder.name) and os.path.samestat(folder.lstat(), other.lstat())  # a link is not the folder
    return False
