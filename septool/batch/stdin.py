"""Standard input, as a stream or spooled to a file."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from septool.errors import AudioError


def open_stdin() -> BinaryIO:
    """Return standard input.

    Raises:
        AudioError: the parent process has closed it.
    """
    if sys.stdin is None:
        raise AudioError("standard input is closed")
    return sys.stdin.buffer


@contextmanager
def stdin_as_file() -> Iterator[Path]:
    """Spool standard input to a temporary file, since decoders seek and memory must stay constant."""
    with tempfile.TemporaryDirectory(prefix="septool-") as folder:
        path = Path(folder) / "recording"
        stdin = open_stdin()
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(stdin, file)
        except OSError as error:
            raise AudioError(f"standard input cannot be kept in {folder}: {error.strerror}") from None
        if not path.stat().st_size:
            raise AudioError("standard input is empty")
        yield path
