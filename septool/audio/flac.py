"""FLAC (RFC 9639): the sample count of the header, checked against the last frame."""

import re
from collections.abc import Callable

from septool.audio.forward import Part, PlainFeed, part_from_bytes
from septool.audio.mpeg import tag_size
from septool.audio.sources import ByteSource

INFO_END = 42  # bytes of the magic number and the STREAMINFO block
TOTAL = slice(18, 26)  # eight bytes whose last 36 bits are the number of samples
MASK = 2**36 - 1
SYNC = re.compile(rb"\xff[\xf8\xf9]")  # start of every frame; also occurs elsewhere
TAIL = 2**16  # bytes at the end that contain the start of the last frame
BLOCK_SIZES = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608} | {code: 256 << code - 8 for code in range(8, 16)}


def _table(polynomial: int, bits: int) -> list[int]:
    top, mask = 1 << bits - 1, (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


CRC8, CRC16 = _table(0x07, 8), _table(0x8005, 16)


class FlacPatch:
    """A FLAC stream with the length removed from its header, so that it is decoded to its end.

    Args:
        pull: returns the next bytes; raises StopIteration or returns no bytes at the end.
    """

    def __init__(self, pull: Callable[[], bytes]) -> None:
        self._pull = pull
        head = bytearray()
        while len(head) < INFO_END and (part := self._more()):
            head += part
        total = int.from_bytes(head[TOTAL], "big")
        self.announced = total & MASK if head[:4] == b"fLaC" else None
        head[TOTAL] = (total & ~MASK).to_bytes(8, "big")
        self._data = bytes(head)

    def _more(self) -> bytes:
        try:
            return self._pull()
        except StopIteration:
            return b""

    def pull(self, count: int) -> bytes:
        """Return the next bytes, up to ``count``."""
        while not self._data:
            self._data = self._more()
            if not self._data:
                return b""
        part, self._data = self._data[:count], self._data[count:]
        return part


class FlacFeed(PlainFeed):
    """A FLAC file or stream."""

    # libFLAC resynchronizes after damage by itself, and reports an error.
    lost_bytes, gaps, first_gap_s, has_end = 0, 0, None, True

    def __init__(self, source: ByteSource, start: int) -> None:
        source.seek(start)
        self._patch: FlacPatch | None = FlacPatch(lambda: source.read_available(2**16))
        self.announced = self._patch.announced

    def next_part(self) -> Part | None:
        patch, self._patch = self._patch, None
        return None if patch is None else part_from_bytes(patch.pull)


def flac_start(source: ByteSource) -> int | None:
    """Return the offset of FLAC data after any tags; None if the source is not FLAC."""
    offset = 0
    while size := tag_size(source.peek(offset, 32)):
        offset += size
    return offset if source.peek(offset, 4) == b"fLaC" else None


def is_confirmed(source: ByteSource, start: int) -> bool:
    """Return whether the last frame of a regular file is intact, in sequence, and ends where the header says.

    Only the frame headers in the last bytes and the whole last frame are checked.
    """
    assert source.size is not None
    head = source.peek(start, INFO_END)
    total, smallest = int.from_bytes(head[TOTAL], "big") & MASK, int.from_bytes(head[8:10], "big")
    data = source.peek(max(source.size - TAIL, 0), TAIL)
    behind = total  # the sample after the frames seen so far
    for frame_start in reversed([found.start() for found in SYNC.finditer(data)] if total else []):
        span = frame_span(data[frame_start : frame_start + 16], smallest)
        if span is None:
            continue
        if span.stop != behind or (behind == total and _crc(CRC16, 16, data[frame_start:]) != 0):
            return False
        behind = span.start
    return behind < total and (behind == 0 or source.size - start > TAIL)


def frame_span(head: bytes, block: int) -> range | None:
    """Return the range of a frame's samples; None if no frame begins here.

    Args:
        head: 16 bytes, the maximum length of a frame header.
        block: samples per frame, for streams with a fixed block size.
    """
    if len(head) < 6 or head[1] & 0xFE != 0xF8:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # as in UTF-8
    extra = 0 if ones == 0 else ones - 1
    if ones == 1 or ones > 7 or size_code == 0 or rate_code == 15:
        return None
    number = head[4] & (0x7F >> ones if ones else 0x7F)
    offset = 5
    for byte in head[offset : offset + extra]:
        number = number << 6 | byte & 0x3F
    offset += extra
    size = BLOCK_SIZES.get(size_code, 0)
    if size_code in (6, 7):
        width = size_code - 5
        size = int.from_bytes(head[offset : offset + width], "big") + 1
        offset += width
    offset += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if len(head) <= offset or _crc(CRC8, 8, head[: offset + 1]) != 0:
        return None
    first = number if head[1] & 1 else number * block
    return range(first, first + size)


def _crc(table: list[int], bits: int, data: bytes) -> int:
    """Return a CRC, most significant bit first, starting from 0; it is 0 over data followed by their CRC."""
    value, shift, mask = 0, bits - 8, (1 << bits) - 1
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> shift ^ byte]
    return value
