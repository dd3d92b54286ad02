"""MPEG audio (mp1, mp2, mp3) frame by frame: exact lengths, and damage that is skipped.

ISO/IEC 11172-3 and 13818-3: each frame has its own length, and there is no count of frames except in the Xing frame,
which most encoders write first in files but cannot write in streams.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from septool.audio.forward import Part, part_from_pipe
from septool.audio.sources import ByteSource

BITRATES = {  # kbit/s by (MPEG-1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
DECODER_DELAY = 529  # delay of layer III decoders in samples
WINDOW = 2**14  # bytes per search step
SEARCH = 2**17  # bytes after a tag within which the first frame must begin


@dataclass(frozen=True)
class FrameHeader:
    """The four-byte header of a frame."""

    version: int  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    layer: int
    rate: int
    size: int  # bytes including the header
    samples: int  # per channel
    is_mono: bool

    def goes_with(self, other: "FrameHeader") -> bool:
        """Return whether both can belong to one stream; decoders stop if the number of channels changes."""
        ours, theirs = ((header.version, header.layer, header.rate, header.is_mono) for header in (self, other))
        return ours == theirs


def parse_header(data: bytes) -> FrameHeader | None:
    """Parse a frame header; None if it is invalid or of free format, which has no frame length."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, 4 - (data[1] >> 1 & 3)
    bitrate, rate, padding = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1
    if version == 1 or layer == 4 or not 0 < bitrate < 15 or rate == 3:
        return None
    kilobits = BITRATES[version == 3, layer if version == 3 or layer == 1 else 2][bitrate - 1]
    hertz = RATES[version][rate]
    samples = 384 if layer == 1 else 1152 if layer == 2 or version == 3 else 576
    slot = 4 if layer == 1 else 1
    size = (samples // 8 * kilobits * 1000 // slot // hertz + padding) * slot
    return FrameHeader(version, layer, hertz, size, samples, data[3] >> 6 == 3)


def tag_size(head: bytes) -> int:
    """Return the length of the tag that begins here; 0 if there is none."""
    if head[:3] == b"ID3" and len(head) >= 10 and not any(byte & 0x80 for byte in head[6:10]):
        size = sum(byte << 7 * (3 - index) for index, byte in enumerate(head[6:10]))
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX" and len(head) >= 24:
        size, flags = int.from_bytes(head[12:16], "little"), int.from_bytes(head[20:24], "little")
        return size + 32 if flags & 1 << 29 else 32  # a footer, of which the items were passed as damage
    return 0


def first_frame(source: ByteSource) -> int | None:
    """Return the offset of the first frame; None if the source is not MPEG audio."""
    offset = 0
    while size := tag_size(source.peek(offset, 32)):
        offset += size
        if source.size is None and offset > 2**24:
            return None
    data = source.peek(offset, SEARCH + WINDOW if offset else WINDOW)
    start = 0
    while 0 <= (start := data.find(b"\xff", start)) < SEARCH:
        if _chain(data, start, 3):
            return offset + start
        start += 1
    return None


def _chain(data: bytes, start: int, links: int) -> bool:
    """Return whether consecutive frames follow from here, for a given number or to the end."""
    first = header = parse_header(data[start : start + 4])
    for _ in range(links):
        if header is None or first is None or not header.goes_with(first):
            return False
        start += header.size
        if start + 4 > len(data):
            return start <= len(data)
        header = parse_header(data[start : start + 4])
    return True


@dataclass(frozen=True)
class Announcement:
    """The contents of a Xing frame."""

    frames: int | None  # frames of audio, without the Xing frame
    delay: int  # encoder delay in samples
    padding: int  # encoder padding in samples


def parse_xing(frame: bytes, header: FrameHeader) -> Announcement | None:
    """Parse a Xing (or Info) frame; None if it is an audio frame."""
    if header.layer != 3:
        return None
    side = (17 if header.is_mono else 32) if header.version == 3 else 9 if header.is_mono else 17
    at = 4 + side
    if frame[36:40] == b"VBRI":
        return Announcement(int.from_bytes(frame[50:54], "big"), 0, 0)
    if frame[at : at + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    count = int.from_bytes(frame[at + 8 : at + 12], "big") if flags & 1 else None
    offset = at + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    extra = frame[offset : offset + 24]
    if len(extra) < 24 or not extra[:4].strip(b"\0"):
        return Announcement(count, 0, 0)
    return Announcement(count, extra[21] << 4 | extra[22] >> 4, (extra[22] & 15) << 8 | extra[23])


class MpegFeed:
    """The intact frames of a stream; other bytes are skipped and counted.

    The Xing frame, which is silent, is dropped: a decoder would trust its length even if it is wrong.

    Args:
        source: the stream.
        start: offset of the first frame.
    """

    def __init__(self, source: ByteSource, start: int) -> None:
        self.lost_bytes, self.gaps, self.has_end = 0, 0, True
        self.first_gap_s: float | None = None
        self.counted = 0  # samples in the frames returned so far
        source.seek(start)
        self._source = source
        self._data, self._at_end = b"", False
        self._frames: Iterator[bytes] | None = None
        self._held: bytes | None = None
        self.xing: Announcement | None = None
        self.announced: int | None = None
        self._frames = self._walk()
        self._held = next(self._frames, None)

    def next_part(self) -> Part | None:
        if self._frames is None or self._held is None:
            return None
        frames, self._frames = self._frames, None
        held = [self._held]

        def pull() -> bytes:
            parts = [held.pop()] if held else []
            size = 0
            for frame in frames:
                parts.append(frame)
                size += len(frame)
                if size > WINDOW // 4:
                    break
            return b"".join(parts)

        return part_from_pipe(pull)

    @property
    def priming(self) -> int:
        """Delay in samples: that of the encoder and that of layer III decoders."""
        return self.xing.delay + DECODER_DELAY if self.xing and self.xing.delay else 0

    @property
    def padding(self) -> int:
        """Padding in samples, as far as the decoder outputs it."""
        return max(self.xing.padding - DECODER_DELAY, 0) if self.xing and self.xing.delay else 0

    @property
    def ends_as_announced(self) -> bool:
        """Whether the number of frames equals that of the Xing frame."""
        return self.announced is None or self.counted == self.announced + self.priming + self.padding

    def count(self) -> int:
        """Count the samples of audio, consuming the feed."""
        assert self._frames is not None
        for _ in self._frames:
            pass
        trimmed = self.priming + (self.padding if self.ends_as_announced else 0)
        return max(self.counted - trimmed, 0)

    def _fill(self, count: int) -> bool:
        while len(self._data) < count and not self._at_end:
            part = self._source.read_available(WINDOW)
            self._at_end = not part
            self._data += part
        return len(self._data) >= count

    def _walk(self) -> Iterator[bytes]:
        first: FrameHeader | None = None
        while self._fill(4):
            header = parse_header(self._data[:4])
            if header is not None and (first is None or header.goes_with(first)):
                if not self._fill(header.size):
                    if self._at_end and not self.announced:
                        self.has_end = False
                    return
                frame, self._data = self._data[: header.size], self._data[header.size :]
                if first is None:
                    first = header
                    self.xing = parse_xing(frame, header)
                    if self.xing:
                        if self.xing.frames:
                            total = self.xing.frames * header.samples
                            self.announced = max(total - self.priming - self.padding, 0)
                        continue
                self.counted += header.samples
                yield frame
            elif not self._step_over(first):
                return

    def _step_over(self, first: FrameHeader | None) -> bool:
        """Skip bytes that are no frame; return False at the end."""
        self._fill(32)
        if size := tag_size(self._data[:32]):
            while size and self._fill(1):
                passed = min(size, len(self._data))
                self._data, size = self._data[passed:], size - passed
            return True
        lost, was_zero = 0, True
        while self._fill(WINDOW) or self._data:
            start = 1
            while (start := self._data.find(b"\xff", start)) >= 0:
                if tag_size(self._data[start : start + 32]):
                    break
                header = parse_header(self._data[start : start + 4])
                if header and (first is None or header.goes_with(first)) and _chain(self._data, start, 2):
                    break
                start += 1
            tag = self._data.find(b"TAG")
            ends = [end for end in (start, tag if tag >= 0 and len(self._data) - tag == 128 else -1) if end >= 0]
            end = min(ends) if ends else (len(self._data) if self._at_end else len(self._data) - WINDOW // 8)
            was_zero &= not self._data[:end].strip(b"\0")
            self._data, lost = self._data[end:], lost + end
            if ends or self._at_end:
                break
        if not was_zero:
            if not self.gaps:
                self.first_gap_s = self.counted / first.rate if first else 0.0
            self.lost_bytes += lost
            self.gaps += 1
        return bool(self._data)
