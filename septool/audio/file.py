"""An open recording, independent of the decoder behind it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from septool.audio.decoders import Decoder
from septool.audio.findings import Finding
from septool.audio.plain import PlainDecoder
from septool.audio.resampling import check_finite
from septool.audio.seeking import NotSeekingError, SeekingDecoder, open_seeking
from septool.audio.sources import ByteSource
from septool.errors import AudioError

BLOCK_SAMPLES = 2**21  # samples of all channels, read at once
SEEKING_S = 5.0  # distance from which to seek in compressed audio instead of decoding


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds; ``frames`` counts samples per channel."""

    rate: int
    frames: int
    channels: int
    subtype: str
    header_frames: int  # frames by the header; ``frames`` if it has no length
    findings: tuple[Finding, ...] = ()  # how the file differs from its header


class AudioFile:
    """An open recording, created by :func:`open_audio`."""

    def __init__(self, source: ByteSource, decoder: Decoder, exact: Callable[[], int | None]) -> None:
        self.name, self.rate, self.channels, self.subtype = source.name, decoder.rate, decoder.channels, decoder.subtype
        self.position = 0  # samples per channel
        self._source, self._decoder, self._exact = source, decoder, exact
        self._at_end = False
        self._held: np.ndarray | None = None  # [channel, time], buffered by peek
        self._reopen: Callable[[], Decoder] | None = None

    @cached_property
    def exact_frames(self) -> int | None:
        """Samples per channel if they can be counted without decoding, else None."""
        return self._exact()

    @property
    def frames(self) -> int:
        """Best current estimate of the samples per channel; 0 for a stream of unknown length."""
        return self.position if self._at_end else self.exact_frames or max(self._decoder.expected, self.position)

    @property
    def header_frames(self) -> int:
        """Samples per channel announced by the header; ``frames`` if it has no length."""
        announced = self._decoder.header_frames
        return self.frames if announced is None else announced

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Differences between the recording and its header; complete at its end."""
        return tuple(self._decoder.findings)

    def info(self) -> AudioInfo:
        """Return the properties known so far; complete at the end of the recording."""
        return AudioInfo(self.rate, self.frames, self.channels, self.subtype, self.header_frames, self.findings)

    def read(self, frames: int = -1) -> np.ndarray:
        """Return the next ``frames`` samples, or all, as ``[channel, time]`` in float32; fewer at the end.

        Raises:
            AudioError: the bytes cannot be read, or a sample is not finite.
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
            # One more than expected, to detect the end: decoders allocate the full length they are asked for.
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
        """Return the next ``frames`` samples, ``[channel, time]``, without consuming them; fewer at the end."""
        peeked = self.read(frames)
        self._held = peeked if self._held is None else np.concatenate((peeked, self._held), axis=1)
        return peeked

    def seek(self, frame: int) -> None:
        """Seek to a sample, or to the end if the recording is shorter.

        Raises:
            AudioError: the sample has been passed, and the recording is a stream.
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
        """Return the exception for a recording without samples."""
        if not self.header_frames:
            return AudioError(f"{self.name} has no samples")
        promised = self.header_frames / self.rate
        return AudioError(f"{self.name} breaks off while decoding: nothing is there of {promised:.1f} s")

    def reopen_by(self, opened: Callable[[], "AudioFile"]) -> None:
        """Set the callback that reopens a recording which can be read twice."""
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
        try:
            decoder = open_seeking(self._source)
        except NotSeekingError:
            return False
        if decoder.expected != self.exact_frames or not decoder.seek(frame):
            return False
        self._decoder.close()
        self._decoder = decoder
        return True

    def close(self) -> None:
        self._decoder.close()
        self._source.close()
