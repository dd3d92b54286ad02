"""File helpers: reading files that users name, creating folders, and sha256 sums."""

import errno
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from septool.errors import AudioError, SeptoolError
from septool.printable import printable

WAIT_S = 1.0  # for a writer of a named pipe


def refuse_existing(path: Path, *, force: bool, otherwise: str = "") -> None:
    """Refuse to replace a file unless ``force``; ``otherwise`` is what can be done besides.

    Raises:
        SeptoolError: it is there.
    """
    if path.exists() and not force:
        raise SeptoolError(
            f"{printable(path)} exists; use --force to replace it" + (f" or {otherwise}" if otherwise else "")
        )


def make_folder(folder: Path) -> None:
    """Make a folder for results, in words if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise AudioError(f"{printable(folder)} is a file, not a folder") from None
    except OSError as error:
        raise AudioError(f"{printable(folder)} cannot be made: {error.strerror}") from None
    if reason := why_not_writable(folder):
        raise AudioError(f"{printable(folder)} cannot be written to: {reason}")


def why_not_writable(folder: Path) -> str:
    """Return why no file can be made in a folder; nothing if one can, which is tried."""
    if not os.access(folder, os.W_OK | os.X_OK):
        with suppress(OSError):  # which root may not write to either
            if hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY:
                return os.strerror(errno.EROFS)
        return "no permission"
    try:  # permissions say nothing of a full disk, or of a file system that the kernel fills
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def path_or_none(name: str | Path | None) -> Path | None:
    """Return a path, or None if no name is given."""
    return None if name is None else Path(name)


def is_there(path: Path) -> bool:
    """Return whether something is at a path; no of one that may not be looked at, of which opening it says why."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists() raises, of a name that is too long or not permitted


def is_folder(path: Path) -> bool:
    """Return whether a folder is at a path, as :func:`is_there` does."""
    return os.path.isdir(path)  # noqa: PTH112


def relative_path(path: Path, folder: Path) -> PurePath:
    """Return the way from a folder to a file; from one drive of Windows to another there is none but the whole path."""
    try:
        return PurePath(os.path.relpath(path, folder))
    except ValueError:
        return path.absolute()


def read_bytes(path: Path) -> bytes:
    """Read a whole file, or a named pipe that somebody writes to.

    Raises:
        OSError: it cannot be read; a pipe without a writer is not waited for longer than a second.
    """
    if path.is_char_device():  # some of which never end
        raise OSError(errno.EINVAL, "it is a device, not a file", os.fspath(path))
    with open_pipe(path) if path.is_fifo() else path.open("rb") as file:
        return file.read()


def parse_json_lines(content: bytes) -> Iterator[Any]:
    """Yield what each line of JSON holds; lines that hold none are left out, as killed runs leave them half-written."""
    for line in content.decode("utf-8-sig", errors="replace").split("\n"):
        with suppress(ValueError, RecursionError):
            yield json.loads(line)


def read_text(path: Path) -> str:
    """Read a whole text file, or a named pipe, in UTF-8; the mark that some editors put in front is left out.

    Raises:
        OSError: as for :func:`read_bytes`.
        UnicodeDecodeError: it is not text.
    """
    return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n")


def open_pipe(path: Path) -> BinaryIO:
    """Open a named pipe for reading; to open one waits for a writer, so that one that never comes is noticed.

    Raises:
        OSError: nobody writes to it within a second.
    """
    opened: list[BinaryIO] = []

    def wait() -> None:
        with suppress(OSError):
            opened.append(path.open("rb"))

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(WAIT_S)
    if waiting.is_alive():
        with suppress(OSError):  # lets the thread go on; ENXIO where it just did
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        waiting.join()
        for file in opened:
            file.close()
        opened.clear()
    if not opened:
        raise OSError(errno.ENXIO, "nobody writes to this named pipe", os.fspath(path))
    return opened[0]


def sha256_of(content: Path | bytes) -> str:
    """Return the sha256 of a file, or of bytes that are not on disk yet, in hexadecimal."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
