"""Decoding uncompressed samples, however many the file really holds."""

import io

import numpy as np
import soundfile

from septool.audio.decoders import Forward, compared, read_through
from septool.audio.findings import Finding, FindingKind
from septool.audio.plain_headers import SampleData, has_second_samples, is_sound, length_of_samples
from septool.audio.sources import ByteSource, Rewindable, as_file

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


class NotPlainError(Exception):
    """A container of coded samples, or one that libsndfile has to find its way in alone."""


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
                offset = self._data.offset + self._taken
                second = self._width * self.rate
                more = (not self._announced or bool(self._source.peek(offset, 1))) and is_sound(
                    self._source, self._data, offset, second
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
