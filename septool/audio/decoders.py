"""What every decoder offers, and those that libsndfile does the work for.

A decoder gives samples until there are none. What was announced is compared with them at the end.
"""

import io
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Protocol

import numpy as np
import soundfile

from septool.audio.containers import SampleData, has_second_samples, is_sound, length_of_samples
from septool.audio.findings import Finding, FindingKind
from septool.audio.sources import ByteSource, Feeder, Rewindable, as_file
from septool.errors import AudioError

RAW_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}
TOLERANCE_S = 0.1  # by which counts of coded sound differ without a word: encoders pad to whole frames
FRUITLESS = 100  # errors in a row without a sample, after which nothing more is expected


class Decoder(Protocol):
    """Samples of a recording in order."""

    rate: int
    channels: int
    subtype: str  # libsndfile's name of the sample format, or the codec's
    expected: int  # samples per channel, as well as can be said before; 0 if nobody knows
    findings: list[Finding]  # complete when there is no more to read

    @property
    def header_frames(self) -> int | None:
        """Samples per channel that are announced; None where nothing is."""
        ...

    def read(self, frames: int) -> np.ndarray:
        """Return ``[time, channel]`` in float32, fewer than ``frames`` only at the end."""
        ...

    def seek(self, frame: int) -> bool:
        """Go to a sample; False if only reading leads there."""
        ...

    def close(self) -> None: ...


class Forward(soundfile.SoundFile):
    """A file read from its beginning to its end: seeking, which soundfile does after every read, is left out."""

    def seekable(self) -> bool:
        return False


def read_through(file: soundfile.SoundFile, frames: int) -> tuple[np.ndarray, bool]:
    """Return ``[time, channel]``, and whether there was an error behind them."""
    samples = np.full((frames, file.channels), np.nan, dtype=np.float32)
    try:
        return file.read(out=samples), False
    except soundfile.LibsndfileError:  # what was decoded is there all the same
        missing = np.isnan(samples[:, 0])
        return samples[: int(missing.argmax()) if missing.any() else frames], True
    except RuntimeError as error:
        raise AudioError(str(error)) from None


def words_of(error: soundfile.LibsndfileError) -> str:
    """Return libsndfile's reason as it can be shown."""
    reason = str(error.error_string).removeprefix("Error : ").rstrip(". ")
    return "its header gives no rate or no channels" if "SF_INFO" in reason else reason


def compared(rate: int, frames: int, announced: int | None, tolerance: float) -> list[Finding]:
    """Compare decoded with announced samples; differences up to ``tolerance`` (samples) are none."""
    if announced is None or abs(frames - announced) <= tolerance:
        return []
    kind = FindingKind.CUT_OFF if frames < announced else FindingKind.HEADER_TOO_SMALL
    return [Finding(kind, rate, frames, announced)]


class PlainDecoder:
    """Plain samples in a container, as many as there are."""

    def __init__(self, source: ByteSource, data: SampleData) -> None:
        head = source.peek(0, data.offset)
        begin = io.BytesIO(head)
        try:
            with soundfile.SoundFile(as_file(Rewindable(lambda count: begin.read(count) or bytes(count)))) as probe:
                self.rate, self.channels, self.subtype = probe.samplerate, probe.channels, probe.subtype
                endian = probe.endian
                if endian == "FILE":
                    big = probe.format in ("AIFF", "AU", "CAF") or head[:4] == b"RIFX"
                    endian = "BIG" if big else "LITTLE"
        except (soundfile.LibsndfileError, TypeError):
            raise NotPlainError from None
        if self.subtype not in RAW_BYTES or (head[:8].startswith(b"NIST") and b"shorten" in head):
            raise NotPlainError
        self._endian = endian
        self._source, self._data, self._width = source, data, RAW_BYTES[self.subtype] * self.channels
        self.findings: list[Finding] = []
        announced = data.announced
        self._length: int | None = None  # bytes
        if source.size is not None:
            self._length = length_of_samples(source, data, self._width * self.rate)
        self.header_frames = None if announced is None else announced // self._width
        self.expected = self._length // self._width if self._length is not None else self.header_frames or 0
        self._announced = announced
        if self._length is not None:
            self.findings = self._compared(self.expected)
        self._open(0)

    def _open(self, frame: int) -> None:
        self._frames = frame
        self._taken = frame * self._width
        self._source.seek(self._data.offset + self._taken)
        self._bytes = Rewindable(self._pull)
        self._file = Forward(
            as_file(self._bytes),
            samplerate=self.rate,
            channels=self.channels,
            format="RAW",
            subtype=self.subtype,
            endian=self._endian,
        )

    def _pull(self, count: int) -> bytes:
        if self._length is None and self._announced is not None and self._taken + count > self._announced:
            if self._taken < self._announced:
                count = self._announced - self._taken
            else:  # a stream: what follows shows by itself whether it is sound
                place = self._data.offset + self._taken
                second = self._width * self.rate
                more = (not self._announced or bool(self._source.peek(place, 1))) and is_sound(
                    self._source, self._data, place, second
                )
                self._length = 2**62 if more else self._taken
        if self._length is not None:
            count = min(count, self._length - self._taken)
        part = self._source.read(max(count, 0))
        self._taken += len(part)
        return part

    def read(self, frames: int) -> np.ndarray:
        """Return up to ``frames`` samples of each channel, ``[time, channel]``."""
        parts: list[np.ndarray] = []
        left = frames
        while left:
            part, _ = read_through(self._file, left)
            if self._bytes.error:
                raise self._bytes.error
            if not len(part):
                break
            parts.append(part)
            left -= len(part)
        samples = np.concatenate(parts) if parts else np.zeros((0, self.channels), dtype=np.float32)
        self._frames += len(samples)
        if left:
            self.findings = self._compared(self._frames)
        return samples

    def _compared(self, frames: int) -> list[Finding]:
        if self._announced is None:
            return [Finding(FindingKind.UNKNOWN_LENGTH, self.rate, frames)]
        if not self._announced and frames:
            return [Finding(FindingKind.LENGTH_NOT_WRITTEN, self.rate, frames, 0)]
        if frames == self.header_frames and has_second_samples(self._source, self._data):
            return [Finding(FindingKind.MORE_SAMPLES, self.rate, frames, frames)]
        return compared(self.rate, frames, self.header_frames, 0)

    def seek(self, frame: int) -> bool:
        if self._source.size is None:
            return False
        self._file.close()
        self._open(frame)
        return True

    def close(self) -> None:
        self._file.close()


class NotPlainError(Exception):
    """A container of coded samples, or one that libsndfile has to find its way in alone."""


class SeekingDecoder:
    """A regular file that libsndfile reads as it thinks right, from any place."""

    def __init__(self, source: ByteSource, opened: soundfile.SoundFile, data: SampleData | None = None) -> None:
        self._file, self._source = opened, source
        self.rate, self.channels, self.subtype = opened.samplerate, opened.channels, opened.subtype
        self.expected, self.header_frames, self.findings = opened.frames, None, []
        self._frames = 0
        self._quiet = quiet if self.subtype.startswith("MPEG") else nullcontext
        if data and data.announced and source.size:
            there = max(source.size - data.offset, 1)
            # As many times the samples as the announced bytes are of those that are there.
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


class Feed(Protocol):
    """Coded sound without what is damaged, in parts that a codec decodes each by itself."""

    @property
    def announced(self) -> int | None:
        """Samples per channel; 0 where the header says that nobody knew, None where it says nothing."""
        ...

    @property
    def lost_bytes(self) -> int:
        """Bytes left out so far."""
        ...

    @property
    def gaps(self) -> int:
        """Places where something was left out."""
        ...

    @property
    def first_gap_s(self) -> float | None:
        """Seconds before the first of them; None where there is none, or nobody knows."""
        ...

    @property
    def has_end(self) -> bool:
        """Whether the end that the format has was there; known when all parts are read."""
        ...

    @property
    def priming(self) -> int:
        """Samples that the coder put before the sound."""
        ...

    @property
    def padding(self) -> int:
        """Samples that the coder put behind the sound."""
        ...

    @property
    def ends_as_announced(self) -> bool:
        """Whether the padding was there; known when all parts are read."""
        ...

    def next_part(self) -> "Part | None": ...


class PlainFeed:
    """What holds for feeds that know nothing of it."""

    priming, padding, ends_as_announced = 0, 0, True


class ForwardDecoder:
    """Coded sound as it comes, over gaps to its end.

    Args:
        name: for messages.
        feed: the sound.
        expected: samples per channel, as well as can be said before; 0 if nobody knows.
        tolerance_s: seconds by which the announced length may be off without a word.
    """

    def __init__(self, name: str, feed: Feed, *, expected: int = 0, tolerance_s: float = TOLERANCE_S) -> None:
        self._name, self._feed = name, feed
        part = feed.next_part()
        if part is None:
            raise AudioError(f"{name} has no samples")
        self._part: Part | None = part
        self.rate, self.channels, self.subtype = part.file.samplerate, part.file.channels, part.file.subtype
        self.findings: list[Finding] = []
        self.expected, self._tolerance = expected or feed.announced or 0, tolerance_s * self.rate
        self._frames, self._errors, self._fruitless = 0, 0, 0
        self._first_error: int | None = None
        self._held = np.zeros((0, self.channels), dtype=np.float32)  # what may turn out to be padding
        self._skipped, self._given, self._is_trimmed = 0, 0, False

    @property
    def header_frames(self) -> int | None:
        return self._feed.announced or None

    def read(self, frames: int) -> np.ndarray:
        """Return what is decoded, ``[time, channel]``, without what the coder put before and behind the sound."""
        while self._skipped < self._feed.priming and self._part is not None:
            self._skipped += len(self._decode(self._feed.priming - self._skipped))
        missing = frames + self._feed.padding - len(self._held)
        if missing > 0:
            self._held = np.concatenate((self._held, self._decode(missing)))
        end = len(self._held)
        if self._part is not None:
            end -= self._feed.padding
        elif self._feed.ends_as_announced and not self._is_trimmed:
            self._held = self._held[: max(end - self._feed.padding, 0)]
            self._is_trimmed = True
        samples, self._held = self._held[: min(frames, end)], self._held[min(frames, end) :]
        self._given += len(samples)
        if self._part is None and not len(self._held):
            self.findings = self._found()
        return samples

    def _decode(self, frames: int) -> np.ndarray:
        parts: list[np.ndarray] = []
        left = frames
        while left and self._part is not None:
            with quiet() if self._part.is_noisy else nullcontext():
                samples, failed = read_through(self._part.file, min(left, 2**14))
            if self._part.error:
                raise self._part.error
            if failed and self._first_error is None:
                self._first_error = self._frames + len(samples)
            self._errors += failed
            self._fruitless = self._fruitless + 1 if failed and not len(samples) else 0
            parts.append(samples)
            left -= len(samples)
            self._frames += len(samples)
            if (not len(samples) and not failed) or self._fruitless > FRUITLESS:
                self._next_part()
        return np.concatenate(parts) if parts else np.zeros((0, self.channels), dtype=np.float32)

    def _next_part(self) -> None:
        assert self._part is not None
        self._part.close()
        self._fruitless = 0
        self._part = self._feed.next_part()
        if self._part and (self._part.file.samplerate, self._part.file.channels) != (self.rate, self.channels):
            self._part.close()
            self._part = None
            raise AudioError(
                f"{self._name} changes its rate or channels after {self._frames / self.rate:.1f} s; split it there"
            )

    def _found(self) -> list[Finding]:
        found: list[Finding] = []
        count = max(self._feed.gaps, min(self._errors, 1))
        if count:
            places = [] if self._first_error is None else [self._first_error]
            if self._feed.first_gap_s is not None:
                places.append(min(round(self._feed.first_gap_s * self.rate), self._given))
            first = min(places, default=self._given)
            found.append(Finding(FindingKind.GAP, self.rate, first, None, self._feed.lost_bytes, count))
        announced = self._feed.announced
        if announced is None:
            return found if self._feed.has_end else [*found, Finding(FindingKind.CUT_OFF, self.rate, self._given)]
        if not announced:
            return [*found, Finding(FindingKind.UNKNOWN_LENGTH, self.rate, self._given)]
        return found + compared(self.rate, self._given, announced, self._tolerance)

    def seek(self, frame: int) -> bool:  # noqa: ARG002 - it is only read forwards
        return False

    def close(self) -> None:
        if self._part:
            self._part.close()
        self._part = None


class Part:
    """A stretch of coded sound that libsndfile decodes as it comes."""

    def __init__(self, file: soundfile.SoundFile, feed: Feeder | Rewindable) -> None:
        self.file, self._feed, self.is_noisy = file, feed, file.format == "MP3"

    @property
    def error(self) -> AudioError | None:
        return self._feed.error

    def close(self) -> None:
        with suppress(soundfile.LibsndfileError):
            self.file.close()
        self._feed.close()


def part_from_pipe(pull: Callable[[], bytes]) -> Part:
    """Open coded sound (mp3, vorbis, opus) that ``pull`` gives piece by piece.

    Raises:
        LibsndfileError: it is none.
    """
    feeder = Feeder(pull)
    try:
        with quiet():
            return Part(Forward(feeder.reading, closefd=False), feeder)
    except BaseException:
        feeder.close()
        raise


def part_from_bytes(pull: Callable[[int], bytes]) -> Part:
    """Open FLAC, whose beginning libsndfile reads twice.

    Raises:
        LibsndfileError: it is none.
    """
    head = Rewindable(pull)
    return Part(Forward(as_file(head)), head)


_quiet = threading.Lock()
NOISE = re.compile(
    rb"\[?src/libmpg123|(Note|Warning): (Illegal|Trying|Skipped|missing|Hit|Xing|Encountered|Real sample)|mpg123"
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what libmpg123 writes to standard error by itself off it; lines of others that come meanwhile pass."""
    with _quiet:
        try:
            kept = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                os.close(kept)
                said.seek(0)
                for line in said:
                    if not NOISE.search(line):
                        with suppress(OSError):
                            os.write(2, line)
