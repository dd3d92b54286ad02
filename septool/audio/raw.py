"""Samples without a header, in a format given as ``s16le:16000:1``."""

import re
from typing import NamedTuple, Self

from septool.audio.findings import Finding
from septool.audio.plain import RAW_BYTES, PlainDecoder
from septool.audio.plain_headers import SampleData
from septool.audio.sources import ByteSource
from septool.errors import UsageError
from septool.limits import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS

# FFmpeg's names of headerless formats, with libsndfile's name of the sample format and the byte order.
ENCODINGS = {
    **{f"s{bits}{order[0]}e": (f"PCM_{bits}", order.upper()) for bits in (16, 24, 32) for order in ("little", "big")},
    **{f"f32{order[0]}e": ("FLOAT", order.upper()) for order in ("little", "big")},
    **{f"f64{order[0]}e": ("DOUBLE", order.upper()) for order in ("little", "big")},
    **{"s8": ("PCM_S8", "FILE"), "u8": ("PCM_U8", "FILE"), "alaw": ("ALAW", "FILE"), "mulaw": ("ULAW", "FILE")},
}


class RawFormat(NamedTuple):
    """The format of headerless samples."""

    encoding: str  # a key of ENCODINGS
    rate: int  # Hz
    channels: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``ENCODING:RATE:CHANNELS``.

        >>> RawFormat.parse("s16le:16000:1")
        RawFormat(encoding='s16le', rate=16000, channels=1)

        Raises:
            UsageError: it is something else.
        """
        match = re.fullmatch(r"(\w+):(\d{1,18}):(\d{1,18})", text)  # int() refuses numbers of thousands of digits
        encoding, rate, channels = (match[1], int(match[2]), int(match[3])) if match else ("", 0, 0)
        if encoding not in ENCODINGS or not rate or not channels:
            raise UsageError(
                f"--raw is {text!r}; write it as ENCODING:RATE:CHANNELS, such as s16le:16000:1, "
                f"with one of {', '.join(ENCODINGS)}"
            )
        if not (LOWEST_RATE <= rate <= HIGHEST_RATE and channels <= MOST_CHANNELS):
            raise UsageError(
                f"--raw is {text!r}; the rate is {LOWEST_RATE} to {HIGHEST_RATE} Hz, channels are 1 to {MOST_CHANNELS}"
            )
        return cls(encoding, rate, channels)


class RawDecoder(PlainDecoder):
    """Decoder of headerless samples."""

    def __init__(self, source: ByteSource, form: RawFormat) -> None:
        self.rate, self.channels = form.rate, form.channels
        self.subtype, self._endian = ENCODINGS[form.encoding]
        self._source, self._data = source, SampleData(0, None, has_chunks=False)
        self._width = RAW_BYTES[self.subtype] * self.channels
        self.findings: list[Finding] = []
        self._announced, self._length = None, source.size
        self.header_frames = None
        self.expected = (source.size or 0) // self._width
        self._open(0)

    def _compared(self, frames: int) -> list[Finding]:  # noqa: ARG002 - nothing was announced
        return []
