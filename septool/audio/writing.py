"""Writing audio files atomically, block by block, at any sample rate."""

import io
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import soundfile

from septool.atomic import atomic_write
from septool.audio.decoders import quiet
from septool.audio.file import BLOCK_SAMPLES
from septool.audio.formats import PIPED, format_of, nearest_subtype
from septool.audio.opening import open_audio
from septool.audio.plain import RAW_BYTES
from septool.audio.raw import ENCODINGS
from septool.audio.resampling import StreamResampler
from septool.audio.sources import as_file, byte_name
from septool.errors import AudioError, UsageError
from septool.limits import MOST_CHANNELS
from septool.printable import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

WAV_LIMIT = 2**32 - 2**16  # bytes; longer wav files are written as RF64, the 64-bit extension
ADD_PEAK_CHUNK = 0x1050  # SFC_SET_ADD_PEAK_CHUNK of sndfile.h, not exposed by soundfile
CHANNELS = {"FLAC": 8, "MP3": 2, "OGG": 255}  # maximum per format; MOST_CHANNELS for the others
PIECE = 2**16  # frames per call of libsndfile; libvorbis keeps them on the stack, which millions would overflow


def write_audio(path: Path, samples: np.ndarray, rate: int, subtype: str = "PCM_16") -> None:
    """Write ``[channel, time]`` or ``[time]``; the file appears whole or not at all.

    Args:
        path: the suffix decides the format.
        samples: float samples; those beyond full scale are clipped where the subtype has integers.
        rate: Hz.
        subtype: libsndfile's name (``PCM_16``, ``FLOAT``) where the format has it.
    """
    with atomic_write(path) as partial:
        encode_audio(partial, samples, rate, subtype, path)


def encode_audio(partial: Path, samples: np.ndarray, rate: int, subtype: str, named: Path) -> None:
    """Write a file that the caller moves into place.

    Args:
        partial: the temporary file.
        samples: ``[time]`` or ``[channel, time]``.
        rate: Hz.
        subtype: as for :func:`write_audio`.
        named: its final path, whose suffix decides the format.
    """
    voices = np.atleast_2d(samples)
    channels, frames = voices.shape
    with Writer([partial], channels, rate, rate, subtype, named, frames) as writer:
        writer.write(voices)


def transcode(
    source: Path,
    partial: Path,
    named: Path,
    subtype: str,
    *,
    gain: float = 1.0,
    check_wanted: Callable[[], None] = lambda: None,
) -> None:
    """Write a recording again in another format, block by block.

    Args:
        source: the recording.
        partial: the file to be written, as for :func:`encode_audio`.
        named: the path that it will have, whose suffix decides the format.
        subtype: as for :func:`write_audio`.
        gain: factor on every sample.
        check_wanted: called before each block; raises to give up.

    Raises:
        AudioError: the recording cannot be read, or the file not be written.
    """
    with (
        open_audio(source) as file,
        Writer([partial], file.channels, file.rate, file.rate, subtype, named, expected=file.frames) as writer,
    ):
        while (samples := file.read(BLOCK_SAMPLES // file.channels)).size:
            check_wanted()
            writer.write(samples * gain)


class Writer:
    """One file per channel, or one multichannel file, written block by block with resampling.

    Args:
        paths: one per channel, or a single one for all channels.
        channels: number of channels.
        rate: Hz of the blocks.
        target: Hz of the files.
        subtype: libsndfile's name of the sample format; the nearest one that the format has is used.
        named: a path whose suffix decides the format.
        expected: estimated number of frames; 0 if unknown.

    Raises:
        AudioError: the format does not support the number of channels or the rate, or a file cannot be created.
    """

    def __init__(
        self, paths: Sequence[Path], channels: int, rate: int, target: int, subtype: str, named: Path, expected: int = 0
    ) -> None:
        self.target, self.written, self.clipped, self.peak = target, 0, 0, 0.0
        self._paths, self._files = list(paths), []
        self._kind, subtype = format_of(named), nearest_subtype(named, subtype)
        self._sample_bytes = RAW_BYTES.get(subtype, 0)
        self._limit = float("inf") if subtype in ("FLOAT", "DOUBLE") else 1.0
        self._resampler = StreamResampler(rate, target, channels)
        self._width = 1 if len(paths) == channels else channels
        most = CHANNELS.get(self._kind, MOST_CHANNELS)
        if self._width > most:
            format = named.suffix[1:].lower()
            remedy = "; use wav" if self._width <= MOST_CHANNELS else f", but at most {most}"
            raise AudioError(f"{format} cannot hold {self._width} channels{remedy}")
        if self._kind == "WAV" and self._bytes_of(expected) > WAV_LIMIT:
            self._kind = "RF64"
        order = ENCODINGS[named.suffix[1:].lower()][1] if self._kind == "RAW" else "FILE"
        try:
            for path in paths:
                file = soundfile.SoundFile(
                    self._place(path), "w", target, self._width, subtype=subtype, endian=order, format=self._kind
                )
                self._files.append(file)
                _leave_time_out(file)
        except soundfile.LibsndfileError as error:
            self.abandon()
            reason = str(error.error_string).removeprefix("Error : ").rstrip(".")
            raise AudioError(f"{printable(named)} cannot be written at {target} Hz: {reason}") from None

    def _bytes_of(self, frames: int) -> int:
        """Return the size of uncompressed samples in bytes."""
        return frames * self._width * self._sample_bytes

    def _place(self, path: Path) -> Any:
        """Return the file or path for libsndfile."""
        return byte_name(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def write(self, block: np.ndarray, *, last_frame: int | None = None) -> None:
        """Append a block ``[channel, time]``; with ``last_frame``, end the files at exactly that many samples."""
        samples = np.ascontiguousarray(self._resampler.push(block, last=last_frame is not None).T)
        if last_frame is not None:  # resampled lengths may be off by one
            left = last_frame - self.written
            samples = np.pad(samples[:left], ((0, max(left - len(samples), 0)), (0, 0)))
        self.written += len(samples)
        self.clipped += int((np.abs(samples) > self._limit).sum())
        self.peak = max(self.peak, float(np.abs(samples).max(initial=0.0)))
        samples = np.clip(samples, -self._limit, self._limit)
        parts = [samples] if len(self._files) == 1 else [samples[:, i] for i in range(len(self._files))]
        for file, part, path in zip(self._files, parts, self._paths, strict=True):
            try:
                for start in range(0, len(part), PIECE):
                    file.write(part[start : start + PIECE])
            except (soundfile.LibsndfileError, AssertionError):  # soundfile asserts that all was written
                raise _full(path) from None

    def close(self) -> None:
        """Close all files and verify that they are complete."""
        incomplete: list[Path] = []
        for file, path in zip(self._files, self._paths, strict=True):
            whole = True
            try:
                file.close()
                if self._kind == "RF64" and self._limit > 1:
                    _blank_time(path)
                # Some codecs do not report a full disk, so check that the last sample can be read.
                if self.written and self._kind == "RAW":
                    whole = path.stat().st_size == self._bytes_of(self.written)
                elif self._kind == "WAV" and self._bytes_of(self.written) > WAV_LIMIT:
                    # Longer than expected, so that the header has a wrong length; the samples are kept nevertheless.
                    whole = path.stat().st_size > self._bytes_of(self.written)
                elif self.written:
                    silent = quiet() if self._kind == "MP3" else nullcontext()  # its decoder prints messages
                    with silent, soundfile.SoundFile(byte_name(path)) as again:
                        again.seek(self.written - 1)
                        whole = len(again.read(2)) == 1
            except soundfile.LibsndfileError:
                whole = False
            if not whole:
                incomplete.append(path)
        if incomplete:
            raise _full(incomplete[0])

    def abandon(self) -> None:
        """Close all files without checking them."""
        for file in self._files:
            with suppress(soundfile.LibsndfileError):
                file.close()


def _leave_time_out(file: soundfile.SoundFile) -> None:
    """Omit the PEAK chunk from WAV and AIFF files of floats, since it contains the time of writing.

    Equal voices then give equal bytes, by which results are recognized.
    """
    soundfile._snd.sf_command(file._file, ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)  # pyright: ignore


def _blank_time(path: Path) -> None:
    """Clear the time in the PEAK chunk of RF64 files of floats, which libsndfile always writes."""
    with path.open("r+b") as file:
        offset = file.read(256).find(b"PEAK")
        if offset >= 0:
            file.seek(offset + 12)
            file.write(bytes(4))


class PipeWriter(Writer):
    """Writes every block to a pipe at once, one channel per voice.

    Lengths in headers are marked as unknown, since a pipe cannot be seeked.

    Args:
        out: the pipe.
        channels: number of channels.
        rate: Hz of the blocks.
        target: Hz of the output.
        subtype: libsndfile's name of the sample format; the nearest one that the format has is used.
        suffix: of the format.

    Raises:
        UsageError: the format cannot be written without seeking.
        AudioError: the format does not support the rate.
    """

    def __init__(self, out: BinaryIO, channels: int, rate: int, target: int, subtype: str, suffix: str) -> None:
        named = Path(f"voices.{suffix}")
        check_piped(suffix)
        self._out, self._queue = out, _Queue()
        super().__init__([named], channels, rate, target, subtype, named)
        self._send()

    def _place(self, path: Path) -> BinaryIO:  # noqa: ARG002 - a pipe has none
        return as_file(self._queue)

    def write(self, block: np.ndarray, *, last_frame: int | None = None) -> None:
        super().write(block, last_frame=last_frame)
        self._send()

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._send()

    def _send(self) -> None:
        at_start, content = self._queue.start == 0, self._queue.take()
        if at_start and self._kind == "WAV":
            content = without_lengths(content)
        try:
            self._out.write(content)
            self._out.flush()
        except BrokenPipeError:
            raise  # the reader has closed the pipe
        except OSError as error:
            raise AudioError(f"standard output cannot be written to: {error.strerror}") from None


def check_piped(suffix: str) -> None:
    """Refuse a format that cannot be written to a pipe, because it requires seeking.

    Raises:
        UsageError: naming the formats that can.
    """
    if f".{suffix.lower()}" not in PIPED:
        names = ", ".join(sorted(suffix[1:] for suffix in PIPED))
        raise UsageError(f"--format {suffix} cannot be written to a pipe as it is made; it can be {names}")


class _Queue(io.RawIOBase):
    """Written bytes that were not yet taken; later writes to taken positions, such as header lengths, are lost."""

    def __init__(self) -> None:
        self.start = 0  # position of the held bytes
        self._held, self._position = bytearray(), 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.start + len(self._held)}[whence]
        self._position = begin + offset
        return self._position

    def write(self, content: "ReadableBuffer") -> int:
        part, at = bytes(content), self._position - self.start
        if at >= 0:
            self._held[at : at + len(part)] = part
        self._position += len(part)
        return len(part)

    def take(self) -> bytes:
        """Return and clear the held bytes."""
        taken = bytes(self._held)
        self.start += len(taken)
        self._held.clear()
        return taken


def without_lengths(head: bytes) -> bytes:
    """Return the header of a WAV file with the unknown lengths that FFmpeg and sox write."""
    unknown, offset = b"\xff\xff\xff\xff", 12
    patched = bytearray(head)
    patched[4:8] = unknown
    while (name := head[offset : offset + 4]) and name != b"data":
        if name == b"fact":
            patched[offset + 8 : offset + 12] = unknown
        offset += 8 + int.from_bytes(head[offset + 4 : offset + 8], "little")
    patched[offset + 4 : offset + 8] = unknown
    return bytes(patched)


def _full(path: Path) -> AudioError:
    return AudioError(f"{printable(path.parent)} cannot be written to; is the disk full?")
