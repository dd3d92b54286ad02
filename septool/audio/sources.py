"""Byte sources with look-ahead: regular files, named pipes and streams."""

import io
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from septool.errors import AudioError
from septool.files import open_pipe
from septool.printable import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD = 2**16  # bytes of a stream that can be gone back to
PIECE = 2**20  # bytes read at once
FARTHEST = 2**63 - 1  # offset that C has room for, whatever a header says
FAR = 2**60  # what a stream whose end nobody knows gives as its length


_placing = threading.Lock()  # copies of a descriptor share their place


class ByteSource(Protocol):
    """Bytes in order, of which those ahead can be looked at."""

    name: str  # for messages

    @property
    def size(self) -> int | None:
        """Bytes; None for a stream."""
        ...

    def peek(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes at ``offset`` (of a stream: not yet read); fewer at the end."""
        ...

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes; fewer at the end."""
        ...

    def read_available(self, most: int) -> bytes:
        """Return what there is, up to ``most`` bytes, waiting for the first of them alone; nothing at the end."""
        ...

    def seek(self, offset: int) -> None:
        """Go to a place; a stream only to what it has not passed."""
        ...

    def close(self) -> None: ...


class FileSource:
    """A regular file."""

    def __init__(self, file: int, name: str) -> None:
        self.name, self.size = name, os.fstat(file).st_size  # a file that grows is read as it was when it was opened
        self.position = 0
        self._file: int | None = file

    def peek(self, offset: int, count: int) -> bytes:
        parts: list[bytes] = []
        while count > 0:
            part = self._pread(min(count, PIECE), offset)
            if not part:
                break
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
        return b"".join(parts)

    def _pread(self, count: int, offset: int) -> bytes:
        assert self._file is not None
        try:
            if hasattr(os, "pread"):
                return os.pread(self._file, count, offset)
            with _placing:  # Windows
                os.lseek(self._file, offset, os.SEEK_SET)
                return os.read(self._file, count)
        except OSError as error:  # a network file system that went away, a bad sector
            raise AudioError(f"{self.name} cannot be read: {error.strerror}") from None

    def read(self, count: int) -> bytes:
        part = self.peek(self.position, count)
        self.position += len(part)
        return part

    def read_available(self, most: int) -> bytes:
        return self.read(most)

    def seek(self, offset: int) -> None:
        self.position = offset

    def again(self) -> "FileSource":
        """Return the same file, to be read from its beginning independently."""
        assert self._file is not None
        return FileSource(os.dup(self._file), self.name)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None


class StreamSource:
    """A pipe, or anything else that is read once from its beginning."""

    def __init__(self, file: BinaryIO, name: str, *, owned: bool = False) -> None:
        self.name, self.size = name, None
        self.position = 0
        self._file, self._owned, self._ahead = file, owned, bytearray()

    def peek(self, offset: int, count: int) -> bytes:
        start = offset - self.position
        if start < 0:
            raise AudioError(f"{self.name} is a pipe, which cannot be gone back in; save it as a file")
        missing = start + count - len(self._ahead)
        if missing > 0:
            self._ahead += self._pull(missing)
        return bytes(self._ahead[start : start + count])

    def _pull(self, count: int) -> bytes:
        parts: list[bytes] = []
        try:
            while count > 0 and (part := self._file.read(min(count, PIECE))):
                parts.append(part)
                count -= len(part)
        except OSError as error:
            raise AudioError(f"{self.name} cannot be read: {error.strerror}") from None
        return b"".join(parts)

    def read(self, count: int) -> bytes:
        part = bytes(self._ahead[:count])
        del self._ahead[:count]
        part += self._pull(count - len(part))
        self.position += len(part)
        return part

    def read_available(self, most: int) -> bytes:
        if self._ahead or not isinstance(self._file, io.BufferedIOBase):
            return self.read(min(most, len(self._ahead) or most))
        try:
            part = self._file.read1(most)
        except OSError as error:
            raise AudioError(f"{self.name} cannot be read: {error.strerror}") from None
        self.position += len(part)
        return part

    def seek(self, offset: int) -> None:
        if offset < self.position:
            raise AudioError(f"{self.name} is a pipe, which cannot be gone back in; save it as a file")
        while offset > self.position and self.read(min(offset - self.position, PIECE)):
            pass

    def close(self) -> None:
        if self._owned:
            self._file.close()


def open_source(path: Path) -> ByteSource:
    """Open a regular file or a named pipe for reading.

    Raises:
        AudioError: there is none, it is empty or something else, or nobody writes to the pipe within a second.
    """
    shown = printable(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{shown} is a directory, not an audio file")
        if stat.S_ISFIFO(status.st_mode):
            return StreamSource(open_pipe(path), shown, owned=True)
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(f"{shown} is not a regular file; give - and pipe it in")
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise AudioError(f"{shown} does not exist") from None
    except PermissionError:
        raise AudioError(f"{shown} cannot be read: no permission") from None
    except OSError as error:
        raise AudioError(f"{shown} cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in the name
        raise AudioError(f"{shown} is no name that a file can have") from None
    if not status.st_size:
        os.close(file)
        raise AudioError(f"{shown} is empty")
    return FileSource(file, shown)


def as_file(file: io.RawIOBase) -> BinaryIO:
    """Return a file in a type that soundfile's annotations know, which leave out what is no path."""
    return cast(BinaryIO, file)


class Rewindable(io.RawIOBase):
    """Bytes that are pulled in order, as a file of which the first can be gone back to; its end lies far away.

    What libsndfile reads from: it looks at the beginning, goes back and then reads on.
    """

    def __init__(self, pull: Callable[[int], bytes]) -> None:
        self.error: AudioError | None = None  # raised within a callback from C, where it cannot go up
        self._pull, self._head, self._pulled, self._position = pull, bytearray(), 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        part = b""
        if self._position < len(self._head):
            part = bytes(self._head[self._position : self._position + len(view)])
        if len(part) < len(view) and self._position + len(part) == self._pulled:
            try:
                new = self._pull(len(view) - len(part))
            except AudioError as error:
                self.error, new = error, b""
            self._pulled += len(new)
            if self._pulled <= HEAD:
                self._head += new
            part += new
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: FAR}[whence]
        self._position = min(max(start + offset, 0), FARTHEST)
        return self._position

    def tell(self) -> int:
        return self._position


_feeding: set[int] = set()  # ends of pipes; a child that kept one would keep its reader from the end


def _close_in_child() -> None:
    for end in _feeding:
        with suppress(OSError):
            os.close(end)
    _feeding.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class Feeder:
    """A pipe that a thread fills; for codecs that take a file as it comes only from a pipe."""

    def __init__(self, pull: Callable[[], bytes]) -> None:
        self.error: AudioError | None = None
        self._pull = pull
        self.reading, self._writing = os.pipe()
        _feeding.add(self._writing)
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        try:
            while part := self._pull():
                view = memoryview(part)
                while view:
                    view = view[os.write(self._writing, view) :]
        except BrokenPipeError:  # whoever reads has enough
            pass
        except AudioError as error:
            self.error = error
        finally:
            _feeding.discard(self._writing)
            os.close(self._writing)

    def close(self) -> None:
        """End the thread, whatever is left."""
        if self.reading >= 0:
            os.close(self.reading)
            self.reading = -1
            self._thread.join()


def byte_name(path: Path) -> Any:
    """Return a file's name as bytes, since names need not be text; soundfile takes them without saying so."""
    return os.fsencode(path)
