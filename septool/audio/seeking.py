"""Random access to regular files that libsndfile opens directly."""

import io
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from septool.audio.decoders import compared, quiet, words_of
from septool.audio.plain_headers import SampleData, length_of_samples
from septool.audio.sources import FARTHEST, ByteSource, FileSource, as_file
from septool.errors import AudioError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class NotSeekingError(Exception):
    """A recording that libsndfile cannot open directly, with the reason if it is worth a warning."""


def open_seeking(source: ByteSource, data: SampleData | None = None) -> "SeekingDecoder":
    """Open a regular file with libsndfile.

    Args:
        source: the file.
        data: location of the samples, in uncompressed containers.

    Raises:
        NotSeekingError: libsndfile cannot open it, or it is no regular file.
    """
    if not isinstance(source, FileSource):
        raise NotSeekingError
    file = _SourceFile(source)
    if data and data.size_field and data.announced is not None and source.size is not None:
        length = length_of_samples(source, data, 2**14)
        if data.announced < length < 2**32:  # compressed samples after the announced ones
            order = "big" if data.big_endian_chunks else "little"
            file = _SourceFile(source, data.size_field[0], length.to_bytes(data.size_field[1], order))
    try:
        with quiet():
            opened = _OwningFile(file)
    except soundfile.LibsndfileError as error:
        reason = words_of(error)
    except (TypeError, RuntimeError):  # soundfile requires a rate for headerless files
        reason = "it has no header that says what it is"
    else:
        if opened.format != "MP3":
            return SeekingDecoder(source, opened, data)
        opened.close()  # a false match: real MPEG audio would have been recognized by its consecutive frames
        reason = "it begins like MPEG audio and does not go on so"
    file.close()
    raise NotSeekingError(reason)


class SeekingDecoder:
    """A regular file decoded by libsndfile, with random access."""

    def __init__(self, source: ByteSource, opened: soundfile.SoundFile, data: SampleData | None = None) -> None:
        self._file, self._source = opened, source
        self.rate, self.channels, self.subtype = opened.samplerate, opened.channels, opened.subtype
        self.expected, self.header_frames, self.findings = opened.frames, None, []
        self._frames = 0
        self._quiet = quiet if self.subtype.startswith("MPEG") else nullcontext
        if data and data.announced and source.size:
            there = max(source.size - data.offset, 1)
            # Scale the sample count by the ratio of announced to existing bytes.
            self.header_frames = round(opened.frames * max(data.announced / there, 1.0))
        self.findings = compared(self.rate, self.expected, self.header_frames, 0)

    def read(self, frames: int) -> np.ndarray:
        """Return up to ``frames`` samples of each channel, ``[time, channel]``."""
        try:
            with self._quiet():
                samples = self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self._source.name} breaks off while decoding: {words_of(error)}") from None
        self._frames += len(samples)
        if len(samples) < frames:
            self.findings = compared(self.rate, self._frames, self.header_frames, 0)
        return samples

    def seek(self, frame: int) -> bool:
        if not 0 <= frame <= self.expected:
            return False
        try:
            with self._quiet():
                self._file.seek(frame)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self._source.name} breaks off while decoding: {words_of(error)}") from None
        self._frames = frame
        return True

    def close(self) -> None:
        self._file.close()


class _SourceFile(io.RawIOBase):
    """A regular file for libsndfile, with some bytes replaced."""

    def __init__(self, source: FileSource, offset: int = 0, replaced: bytes = b"") -> None:
        self._source, self._offset, self._replaced = source.again(), offset, replaced

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        start = self._source.position
        part = bytearray(self._source.read(len(view)))
        for number, byte in enumerate(self._replaced):
            if 0 <= self._offset + number - start < len(part):
                part[self._offset + number - start] = byte
        view[: len(part)] = part
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._source.position, os.SEEK_END: self._source.size or 0}[whence]
        self._source.seek(min(max(begin + offset, 0), FARTHEST))
        return self._source.position

    def tell(self) -> int:
        return self._source.position

    def close(self) -> None:
        self._source.close()
        super().close()


class _OwningFile(soundfile.SoundFile):
    """A file that also closes its source."""

    _own: io.RawIOBase | None = None

    def __init__(self, file: io.RawIOBase) -> None:
        super().__init__(as_file(file))
        self._own = file

    def close(self) -> None:
        super().close()
        if self._own is not None:
            self._own.close()
