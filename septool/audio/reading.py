"""Reading audio of any kind: samples until there are none, and what was found that the header does not say."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soundfile

from septool.audio import containers, flac, mpeg, ogg
from septool.audio.decoders import (
    Decoder,
    ForwardDecoder,
    NotPlainError,
    PlainDecoder,
    SeekingDecoder,
    quiet,
    words_of,
)
from septool.audio.findings import Finding
from septool.audio.formats import AV_HINT, FOREIGN, HEADERLESS, HIGHEST_RATE, LOWEST_RATE, has_av
from septool.audio.raw import RawDecoder, RawFormat
from septool.audio.resampling import StreamResampler, check_finite, resample, to_mono
from septool.audio.sources import ByteSource, FileSource, StreamSource, as_file, open_source
from septool.errors import AudioError, UsageError
from septool.printable import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_SAMPLES = 2**21  # of all channels, read at once
SEEKING_S = 5.0  # seconds from which on a place in coded sound is sought, not decoded to
# Where sound in other containers could look like MPEG audio that begins late.
MPEG_ELSEWHERE = (b"RIFF", b"\x1aE\xdf\xa3", b"OggS", b"\0\0\1", b"G", b"FLV", b"\x30\x26\xb2\x75", b".RMF", b"FORM")


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds; ``frames`` counts samples per channel."""

    rate: int
    frames: int
    channels: int
    subtype: str
    header_frames: int  # frames by the header; ``frames`` where it says nothing
    findings: tuple[Finding, ...] = ()  # how the file differs from its header


class AudioFile:
    """A recording that is being read; :func:`open_audio` makes it."""

    def __init__(self, source: ByteSource, decoder: Decoder, exact: Callable[[], int | None]) -> None:
        self.name, self.rate, self.channels, self.subtype = source.name, decoder.rate, decoder.channels, decoder.subtype
        self.position = 0  # samples per channel
        self._source, self._decoder, self._exact = source, decoder, exact
        self._at_end = False
        self._held: np.ndarray | None = None  # [channel, time], looked at ahead
        self._reopen: Callable[[], Decoder] | None = None

    @cached_property
    def exact_frames(self) -> int | None:
        """Samples per channel where they can be counted without decoding; None elsewhere."""
        return self._exact()

    @property
    def frames(self) -> int:
        """Samples per channel, as well as can be said so far; 0 for a stream that does not say."""
        return self.position if self._at_end else self.exact_frames or max(self._decoder.expected, self.position)

    @property
    def header_frames(self) -> int:
        """Samples per channel that the header announces; ``frames`` where it announces none."""
        announced = self._decoder.header_frames
        return self.frames if announced is None else announced

    @property
    def findings(self) -> tuple[Finding, ...]:
        """How the recording differs from its header; complete when all was read."""
        return tuple(self._decoder.findings)

    def info(self) -> AudioInfo:
        """Return what is known so far; everything, when all was read."""
        return AudioInfo(self.rate, self.frames, self.channels, self.subtype, self.header_frames, self.findings)

    def read(self, frames: int = -1) -> np.ndarray:
        """Return the next ``frames`` samples, or all, as ``[channel, time]`` in float32; fewer at the end.

        Raises:
            AudioError: the bytes cannot be read, or a sample is no number.
        """
        if self._held is not None:
            held, self._held = self._held, None
            if 0 <= frames < held.shape[1]:
                held, self._held = held[:, :frames], held[:, frames:]
            rest = 0 if self._held is not None else frames - held.shape[1] if frames >= 0 else -1
            return np.concatenate((held, self.read(rest)), axis=1) if rest else held
        parts: list[np.ndarray] = []
        left = frames if frames >= 0 else 2**62
        most = max(BLOCK_SAMPLES // self.channels, 1)
        while left and not self._at_end:
            rest = self._decoder.expected - self.position
            # One more than is expected, to see its end: a decoder makes room for all that it is asked for.
            wanted = min(left, most, rest + 1 if rest > 0 else most)
            part = self._decoder.read(wanted)
            check_finite(part, self.name)
            self._at_end = len(part) < wanted
            self.position += len(part)
            left -= len(part)
            parts.append(part)
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros((0, self.channels))
        return samples.T.astype(np.float32, copy=False)

    def peek(self, frames: int) -> np.ndarray:
        """Return the next ``frames`` samples, ``[channel, time]``, which are read again; fewer at the end."""
        self._held = self.read(frames)
        return self._held

    def seek(self, frame: int) -> None:
        """Go to a sample; to the end where there are fewer.

        Raises:
            AudioError: it lies behind, and the recording is a stream.
        """
        if self._held is not None:
            raise ValueError("what was looked at ahead has to be read first")
        if frame != self.position and self._seek_at_once(frame):
            self.position, self._at_end = frame, False
            return
        if frame < self.position:
            self._begin_again()
        most = max(BLOCK_SAMPLES // self.channels, 1)
        while self.position < frame and not self._at_end:
            self.read(min(frame - self.position, most))

    def empty(self) -> AudioError:
        """Return what to raise when nothing could be read of it."""
        if not self.header_frames:
            return AudioError(f"{self.name} has no samples")
        promised = self.header_frames / self.rate
        return AudioError(f"{self.name} breaks off while decoding: nothing is there of {promised:.1f} s")

    def reopen_by(self, opened: Callable[[], "AudioFile"]) -> None:
        """Set how to begin again, where what is read can be read twice."""
        self._reopen = lambda: opened()._decoder

    def _begin_again(self) -> None:
        if self._reopen is None:
            raise AudioError(f"{self.name} is a stream, which cannot be gone back in; save it as a file")
        self._decoder.close()
        self._decoder, self.position, self._at_end = self._reopen(), 0, False

    def _seek_at_once(self, frame: int) -> bool:
        if isinstance(self._decoder, PlainDecoder | SeekingDecoder):
            return frame <= self.frames and self._decoder.seek(frame)
        backwards = frame < self.position
        if not (backwards or frame - self.position > SEEKING_S * self.rate) or not self.exact_frames:
            return False
        if frame > self.exact_frames or self.subtype.startswith("MPEG"):
            return False
        decoder = _seeking(self._source, None)
        if decoder is None or decoder.expected != self.exact_frames or not decoder.seek(frame):
            return False
        self._decoder.close()
        self._decoder = decoder
        return True

    def close(self) -> None:
        self._decoder.close()
        self._source.close()


@contextmanager
def open_audio(
    recording: Path | BinaryIO, *, track: int = 1, raw: RawFormat | None = None, name: str | None = None
) -> Iterator[AudioFile]:
    """Open a recording: a file of any format, a named pipe, or a stream such as standard input.

    Args:
        recording: a path, or a binary stream, which need not be seekable.
        track: which of those of a container that hold sound, from 1.
        raw: what it is, where it has no header.
        name: of a stream, for messages.

    Raises:
        AudioError: it cannot be read as audio.
        UsageError: it has no such track.
    """
    if track < 1:
        raise UsageError(f"track is {track}; tracks are counted from 1")
    if isinstance(recording, Path):
        source = open_source(recording)
    else:
        source = StreamSource(recording, name or printable(getattr(recording, "name", "the stream")))
    try:
        suffix = Path(source.name).suffix.lower()
        file = _decoded(source, track, suffix, raw)
        if isinstance(source, FileSource):
            file.reopen_by(lambda: _decoded(source, track, suffix, raw))
        if not LOWEST_RATE <= file.rate <= HIGHEST_RATE:
            file.close()
            raise AudioError(
                f"{source.name} says that its rate is {file.rate} Hz; "
                f"recordings of {LOWEST_RATE} Hz to 1 MHz can be worked with"
            )
    except BaseException:
        source.close()
        raise
    try:
        yield file
    finally:
        file.close()


def _decoded(source: ByteSource, track: int, suffix: str, raw: RawFormat | None = None) -> AudioFile:
    if not source.peek(0, 1):
        raise AudioError(f"{source.name} is empty")
    if raw is not None:
        return _raw(source, raw)
    if track == 1:
        file = _plain(source) or _flac(source) or _ogg(source) or _mpeg(source)
        if file:
            return file
    reason = _Reason()
    data = containers.locate_samples(source)
    if track == 1 and source.size is not None and (decoder := _seeking(source, data, reason)):
        return AudioFile(source, decoder, lambda: decoder.expected)
    if source.peek(0, 1024)[:7] == b"NIST_1A" and b"shorten" in source.peek(0, 1024):
        raise AudioError(
            f"{source.name} is compressed with shorten, which nothing here reads; convert it with sph2pipe -f wav"
        )
    if has_av() and suffix not in HEADERLESS:  # whose bytes FFmpeg would take for whatever they happen to look like
        from septool.audio.pyav import AvDecoder

        try:
            return AudioFile(source, AvDecoder(source, track), lambda: None)
        except AudioError:
            if track > 1 or suffix in FOREIGN or not reason.text:
                raise  # else libsndfile's reason says more of a file that should have been one of its own
    if track > 1:
        raise AudioError(f"{source.name}: to choose track {track} takes PyAV: pip install 'septool[av]'")
    if not has_av() and (suffix in FOREIGN or source.peek(4, 4) == b"ftyp" or source.peek(0, 4) == b"\x1aE\xdf\xa3"):
        raise AudioError(f"{source.name}: {AV_HINT}")
    if source.size is None and data:
        raise AudioError(f"{source.name} holds samples of a kind that cannot be read from a pipe; save it as a file")
    if suffix in HEADERLESS:
        raise AudioError(f"{source.name} has no header that says what it is; say it with --raw, such as s16le:8000:1")
    text = f" ({reason.text})" if reason.text else ""
    raise AudioError(f"{source.name} cannot be read as audio{text}; is it a wav, flac, ogg, opus or mp3?")


def _raw(source: ByteSource, form: RawFormat) -> AudioFile:
    decoder = RawDecoder(source, form)
    return AudioFile(source, decoder, lambda: decoder.expected if source.size is not None else None)


class _Reason:
    """Why libsndfile did not read a file."""

    text = ""


def _plain(source: ByteSource) -> AudioFile | None:
    data = containers.locate_samples(source)
    if data is None:
        return None
    try:
        decoder = PlainDecoder(source, data)
    except NotPlainError:
        return None
    return AudioFile(source, decoder, lambda: decoder.expected if source.size is not None else None)


def _flac(source: ByteSource) -> AudioFile | None:
    start = flac.flac_start(source)
    if start is None:
        return None
    try:
        decoder = ForwardDecoder(source.name, flac.FlacFeed(source, start))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{source.name} cannot be read as audio ({words_of(error)}); is it damaged?") from None

    def exact() -> int | None:
        return decoder.header_frames if source.size is not None and flac.is_confirmed(source, start) else None

    return AudioFile(source, decoder, exact)


def _ogg(source: ByteSource) -> AudioFile | None:
    if ogg.first_codec(source) is None:
        return None
    try:
        decoder = ForwardDecoder(source.name, ogg.OggFeed(source))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{source.name} cannot be read as audio ({words_of(error)}); is it damaged?") from None

    def exact() -> int | None:
        if not isinstance(source, FileSource):
            return None
        walk = ogg.OggFeed(other := source.again())
        parts = walk.count_parts()
        other.close()
        if parts != 1 or walk.gaps or not walk.has_end or (found := _seeking(source, None)) is None:
            return None
        found.close()
        return found.expected if found.expected < 2**62 else None

    return AudioFile(source, decoder, exact)


def _mpeg(source: ByteSource) -> AudioFile | None:
    start = mpeg.first_frame(source)
    head = source.peek(0, 12)
    if start is None or (start and head[:3] != b"ID3" and (head.startswith(MPEG_ELSEWHERE) or head[4:8] == b"ftyp")):
        return None
    length = None
    if isinstance(source, FileSource):
        walk = mpeg.MpegFeed(other := source.again(), start)
        counted = walk.count()
        other.close()
        if walk.ends_as_announced and walk.has_end and not walk.gaps:
            length = counted
    try:
        decoder = ForwardDecoder(source.name, mpeg.MpegFeed(source, start), expected=length or 0)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{source.name} cannot be read as audio ({words_of(error)}); is it damaged?") from None
    return AudioFile(source, decoder, lambda: length)


class _SourceFile(io.RawIOBase):
    """A regular file's bytes for libsndfile, some of them replaced."""

    def __init__(self, source: FileSource, place: int = 0, replaced: bytes = b"") -> None:
        self._source, self._place, self._replaced = source.again(), place, replaced

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        start = self._source.position
        part = bytearray(self._source.read(len(view)))
        for number, byte in enumerate(self._replaced):
            if 0 <= self._place + number - start < len(part):
                part[self._place + number - start] = byte
        view[: len(part)] = part
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._source.position, os.SEEK_END: self._source.size or 0}[whence]
        self._source.seek(max(begin + offset, 0))
        return self._source.position

    def tell(self) -> int:
        return self._source.position

    def close(self) -> None:
        self._source.close()
        super().close()


def _seeking(
    source: ByteSource, data: containers.SampleData | None, reason: _Reason | None = None
) -> SeekingDecoder | None:
    """Let libsndfile open a regular file by itself; None if it cannot."""
    if not isinstance(source, FileSource):
        return None
    file = _SourceFile(source)
    if data and data.size_field and data.announced is not None and source.size is not None:
        length = containers.length_of_samples(source, data, 2**14)
        if data.announced < length < 2**32:  # coded samples behind the announced ones
            order = "big" if data.big_endian_chunks else "little"
            file = _SourceFile(source, data.size_field[0], length.to_bytes(data.size_field[1], order))
    try:
        with quiet():
            opened = _OwningFile(file)
    except soundfile.LibsndfileError as error:
        if reason:
            reason.text = words_of(error)
    except (TypeError, RuntimeError):  # soundfile wants to be told the rate
        if reason:
            reason.text = "it has no header that says what it is"
    else:
        if opened.format != "MP3":
            return SeekingDecoder(source, opened, data)
        opened.close()  # four bytes that look like it; frames do not follow one another, or it had been read as such
        if reason:
            reason.text = "it begins like MPEG audio and does not go on so"
    file.close()
    return None


class _OwningFile(soundfile.SoundFile):
    """A file that closes what it reads from."""

    _own: io.RawIOBase | None = None

    def __init__(self, file: io.RawIOBase) -> None:
        super().__init__(as_file(file))
        self._own = file

    def close(self) -> None:
        super().close()
        if self._own is not None:
            self._own.close()


def audio_info(path: Path, *, track: int = 1, decode: bool = False) -> AudioInfo:
    """Return what a file holds. Where its header cannot be relied on, all of it is decoded for that.

    Args:
        path: the file.
        track: which of those of a container that hold sound, from 1.
        decode: decode all of it in any case, to find what only its samples show.

    Raises:
        AudioError: it cannot be read as audio.
    """
    if path.is_fifo():
        raise AudioError(f"{printable(path)} is not a regular file; give - and pipe it in")
    with open_audio(path, track=track) as file:
        if decode or file.exact_frames is None:
            while file.read(BLOCK_SAMPLES // file.channels).size:
                pass
        return file.info()


def read_audio(
    path: Path, start: int = 0, frames: int = -1, *, track: int = 1, whole: bool = False
) -> tuple[np.ndarray, int]:
    """Read ``frames`` samples from ``start`` (all of them by default).

    Args:
        path: the file.
        start: first sample.
        frames: how many; -1 is all that there are.
        track: which of those of a container that hold sound, from 1.
        whole: refuse a file of which all is read, and that breaks off or has gaps.

    Returns:
        Samples ``[channel, time]`` and the rate in Hz.

    Raises:
        AudioError: the file cannot be decoded, has no samples, or ends before ``start + frames``.
    """
    with open_audio(path, track=track) as file:
        file.seek(start)
        if file.position < start or (file.exact_frames is not None and start > file.exact_frames):
            raise AudioError(f"{file.name} has {file.frames} samples, {start} are to be skipped")
        samples = file.read(frames)
        if frames and not file.position:
            raise file.empty()
        if frames >= 0 and samples.shape[1] < frames:
            raise AudioError(f"{file.name} has {file.position} samples, {start + frames} were asked for")
        partial = [finding for finding in file.findings if finding.is_partial]
        if whole and frames < 0 and partial:
            raise AudioError(partial[0].describe(file.name))
        return samples, file.rate


def load_audio(
    path: Path, rate: int, start: int = 0, frames: int = -1, *, track: int = 1, whole: bool = False
) -> np.ndarray:
    """Read a file as one channel ``[time]`` at ``rate`` Hz; the rest is as in :func:`read_audio`."""
    samples, own = read_audio(path, start, frames, track=track, whole=whole)
    return resample(to_mono(samples), own, rate)


class Reader:
    """A recording as one channel at ``rate`` Hz, block by block, in constant memory.

    Args:
        file: the recording.
        rate: Hz of the blocks.
        channel: the one that is read, from 1; all are averaged by default.
        block_seconds: length of a block; with many channels they are shorter.
        each: give all channels, ``[channel, time]``, instead of one.
    """

    def __init__(
        self,
        file: AudioFile,
        rate: int,
        channel: int | None = None,
        block_seconds: float = 10.0,
        *,
        each: bool = False,
    ) -> None:
        if channel is not None and channel > file.channels:
            raise AudioError(f"{file.name} has {file.channels} channel(s); there is no channel {channel}")
        self.file, self.rate, self.channel, self.each = file, rate, channel, each
        self.block = max(min(round(block_seconds * file.rate), BLOCK_SAMPLES // file.channels), 1)
        self.frames = 0  # samples read so far, at the file's rate

    def __iter__(self) -> Iterator[np.ndarray]:
        own = self.file.rate
        resampler = StreamResampler(own, self.rate, self.file.channels if self.each else 1)
        while True:
            samples = self.file.read(self.block)
            self.frames += samples.shape[1]
            last = samples.shape[1] < self.block
            chosen = samples if self.each else to_mono(samples, self.channel)[None]
            resampled = resampler.push(chosen, last=last)
            yield resampled if self.each else resampled[0]
            if last:
                break
        if not self.frames:
            raise self.file.empty()
