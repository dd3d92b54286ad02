"""Sequential decoding of compressed audio (flac, mp3, vorbis, opus) from files and pipes, past damaged parts."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Protocol

import numpy as np
import soundfile

from septool.audio.decoders import TOLERANCE_S, Forward, compared, quiet, read_through
from septool.audio.findings import Finding, FindingKind
from septool.audio.sources import Feeder, Rewindable, as_file
from septool.errors import AudioError

FRUITLESS = 100  # consecutive errors without a sample, after which decoding stops


class Feed(Protocol):
    """Compressed audio without its damaged parts, split into parts that are decoded separately."""

    @property
    def announced(self) -> int | None:
        """Announced samples per channel; 0 if the header says unknown, None if it has no length."""
        ...

    @property
    def lost_bytes(self) -> int:
        """Bytes skipped so far."""
        ...

    @property
    def gaps(self) -> int:
        """Number of gaps so far."""
        ...

    @property
    def first_gap_s(self) -> float | None:
        """Seconds before the first gap; None if there is none, or if unknown."""
        ...

    @property
    def has_end(self) -> bool:
        """Whether the end marker of the format was present; known after the last part."""
        ...

    @property
    def priming(self) -> int:
        """Encoder delay in samples."""
        ...

    @property
    def padding(self) -> int:
        """Encoder padding in samples."""
        ...

    @property
    def ends_as_announced(self) -> bool:
        """Whether the padding was present; known after the last part."""
        ...

    def next_part(self) -> "Part | None": ...


class PlainFeed:
    """Defaults for feeds without encoder delay and padding."""

    priming, padding, ends_as_announced = 0, 0, True


class ForwardDecoder:
    """Sequential decoder of compressed audio that continues after gaps.

    Args:
        name: for messages.
        feed: the compressed audio.
        expected: estimated samples per channel; 0 if unknown.
    """

    def __init__(self, name: str, feed: Feed, *, expected: int = 0) -> None:
        self._name, self._feed = name, feed
        self._frames, self._errors, self._fruitless = 0, 0, 0
        self._first_error: int | None = None
        part = self._open_next()
        if part is None:
            raise AudioError(f"{name} has no samples")
        self._part: Part | None = part
        self.rate, self.channels, self.subtype = part.file.samplerate, part.file.channels, part.file.subtype
        self.findings: list[Finding] = []
        self.expected, self._tolerance = expected or feed.announced or 0, TOLERANCE_S * self.rate
        self._held = np.zeros((0, self.channels), dtype=np.float32)  # samples that may be padding
        self._skipped, self._given, self._is_trimmed = 0, 0, False

    @property
    def header_frames(self) -> int | None:
        return self._feed.announced or None

    def read(self, frames: int) -> np.ndarray:
        """Return decoded samples, ``[time, channel]``, without encoder delay and padding."""
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
            if failed:
                self._note_error(self._frames + len(samples))
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
        self._part = self._open_next()
        if self._part and (self._part.file.samplerate, self._part.file.channels) != (self.rate, self.channels):
            self._part.close()
            self._part = None
            raise AudioError(
                f"{self._name} changes its rate or channels after {self._frames / self.rate:.1f} s; split it there"
            )

    def _open_next(self) -> "Part | None":
        """Open the next part with intact headers; earlier parts count as damage if any part can be read."""
        failure: soundfile.LibsndfileError | None = None
        while True:
            try:
                part = self._feed.next_part()
            except soundfile.LibsndfileError as error:
                failure = error
                self._note_error(self._frames)
                continue
            if failure and part is None and not self._frames:
                raise failure
            return part

    def _note_error(self, frame: int) -> None:
        if self._first_error is None:
            self._first_error = frame
        self._errors += 1

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
    """A part of compressed audio that libsndfile decodes sequentially."""

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
    """Open compressed audio (mp3, vorbis, opus) that ``pull`` returns piece by piece.

    Raises:
        LibsndfileError: it is not such audio.
    """
    feeder = Feeder(pull)
    try:
        with quiet():
            return Part(Forward(feeder.reading, closefd=False), feeder)
    except BaseException:
        feeder.close()
        raise


def part_from_bytes(pull: Callable[[int], bytes]) -> Part:
    """Open FLAC, whose start libsndfile reads twice.

    Raises:
        LibsndfileError: it is not FLAC.
    """
    head = Rewindable(pull)
    return Part(Forward(as_file(head)), head)
