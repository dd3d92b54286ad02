"""Files of results: written whole or not at all, folders made, contents identified by their sha256."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from septool.errors import AudioError, SeptoolError

NAME_LIMIT = 255  # bytes of a file's name, on all common systems


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place only if the block ends well."""
    own = secrets.token_hex(4)  # the processes of several machines can have one folder, and one number
    partial = path.with_name(f".{path.name}.{own}.partial")
    if len(os.fsencode(partial.name)) > NAME_LIMIT:
        short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        partial = path.with_name(f".{short}.{own}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise AudioError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Refuse to replace a file that nobody said may be replaced.

    Raises:
        SeptoolError: it exists.
    """
    if path.exists():
        raise SeptoolError(f"{path} exists; use --force to replace it")


def make_folder(folder: Path) -> None:
    """Make a folder for results, in words if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise AudioError(f"{folder} is a file, not a folder") from None
    except OSError as error:
        raise AudioError(f"{folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise AudioError(f"{folder} cannot be written to: no permission")


def sha256_of(content: Path | bytes) -> str:
    """Return the sha256 of a file, or of bytes that are not on disk yet, in hexadecimal."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
