"""Standard input and output, as streams of audio: checks, and copies to and from files."""

import errno
import os
import select
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from septool.errors import AudioError, UsageError

PIPE = "-"  # standard input or output, where a file is named


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


def check_pipe(out: str, inputs: Sequence[object]) -> None:
    """Refuse settings that do not go with standard output."""
    if out == PIPE and len(inputs) != 1:
        raise UsageError(f"--out - takes one input, {len(inputs)} were given")
    check_stdout(out)


def check_files_to_skip(out: str, *, skip_existing: bool) -> None:
    """Refuse to skip what is there where nothing stays."""
    if out == PIPE and skip_existing:
        raise UsageError("--skip-existing goes by files, and --out - writes none; leave it out")


def check_stdout(out: str) -> None:
    """Refuse audio on a terminal, or where nobody takes it.

    Raises:
        UsageError: standard output is a terminal.
        AudioError: the parent process has closed it, and the program put the null device in its place.
    """
    if out == PIPE and sys.stdout.isatty():
        raise UsageError("--out - writes audio, and standard output is a terminal; send it to a file or a program")
    if out == PIPE and getattr(sys.stdout, "name", None) == os.devnull:
        raise AudioError("standard output is closed")


def check_reader() -> None:
    """Check that standard output still has a reader, where the system can tell without writing.

    Raises:
        BrokenPipeError: the reader of the pipe has closed it.
    """
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    with suppress(OSError):  # io.UnsupportedOperation: not a system file
        poll.register(sys.stdout.fileno(), 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def copy_to_stdout(path: Path) -> None:
    """Copy a file to standard output."""
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # the reader has closed the pipe
    except OSError as error:
        raise AudioError(f"standard output cannot be written to: {error.strerror}") from None
