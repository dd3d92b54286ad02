"""Ogg (Vorbis, Opus, FLAC) page by page: RFC 3533.

Pages carry a checksum and a sequence number, by which damage is detected and skipped; chained streams (as written by
recorders of internet radio) are decoded separately.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from septool.audio.flac import FlacPatch
from septool.audio.forward import Part, PlainFeed, part_from_bytes, part_from_pipe
from septool.audio.sources import ByteSource

CODECS = {b"\x01vorbis": "vorbis", b"OpusHead": "opus", b"\x7fFLAC": "flac"}
FIRST, LAST = 2, 4  # flags of a page
WINDOW = 2**16
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Page:
    """A page with a valid checksum."""

    data: bytes
    is_first: bool
    is_last: bool
    serial: int
    number: int

    @property
    def lacing(self) -> bytes:
        """Lengths of the packet segments; after 255 the packet continues."""
        return self.data[27 : 27 + self.data[26]]

    @property
    def body(self) -> bytes:
        return self.data[27 + self.data[26] :]


def page_sum(data: bytes) -> int:
    """Return the CRC-32 of a page: zlib's polynomial with reversed bit order, starting from 0."""
    blank = data[:22] + bytes(4) + data[26:]
    mirrored = zlib.crc32(blank.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(REVERSED), "big")


def first_codec(source: ByteSource) -> str | None:
    """Return the codec of the first supported stream; None if there is none."""
    offset = 0
    for _ in range(16):
        head = source.peek(offset, 27 + 255)
        if head[:4] != b"OggS" or len(head) < 28 or not head[5] & FIRST:
            return None
        body = 27 + head[26]
        packet = source.peek(offset + body, 8)
        for start, codec in CODECS.items():
            if packet.startswith(start):
                return codec
        offset += body + sum(head[27:body])
    return None


def clock(head: bytes) -> int:
    """Return the granules per second by a stream's first packet; 0 if unknown."""
    if head.startswith(b"OpusHead"):
        return 48_000  # RFC 7845, for any input rate
    if head.startswith(b"\x01vorbis"):
        return int.from_bytes(head[12:16], "little")
    return int.from_bytes(head[27:30], "big") >> 4  # field of FLAC's STREAMINFO


class OggFeed(PlainFeed):
    """The chained streams of a file."""

    def __init__(self, source: ByteSource) -> None:
        source.seek(0)
        self.announced: int | None = None
        self.lost_bytes, self.gaps, self.has_end = 0, 0, False
        self.first_gap_s: float | None = None
        self._before_s, self._passed, self._clock = (
            0.0,
            0,
            0,
        )  # duration of earlier streams, granules so far, granules per second
        self._source, self._data, self._at_end = source, b"", False
        self._pages = self._wanted()
        self._part_pages: Iterator[Page] = iter(())
        self._next: Page | None = next(self._pages, None)

    def count_parts(self) -> int:
        """Count the chained streams, consuming the feed."""
        return sum(page.is_first for page in chain([self._next] if self._next else [], self._pages))

    def next_part(self) -> Part | None:
        for _ in self._part_pages:  # skip the unread rest of the previous part
            pass
        while self._next is not None and not self._next.is_first:
            self._next = next(self._pages, None)
        if self._next is None:
            return None
        first, self._next = self._next, None
        pages = self._part_pages = self._link(first)
        if first.body.startswith(b"\x7fFLAC"):
            patch = FlacPatch(_flac(pages).__next__)
            part = part_from_bytes(patch.pull)
            self.announced = patch.announced
            return part

        def pull() -> bytes:
            return next((page.data for page in pages), b"")

        return part_from_pipe(pull)

    def _link(self, first: Page) -> Iterator[Page]:
        """Yield the pages of one chained stream; the first page of the next one is kept.

        Pages after one marked as last are a gap, since all codecs but FLAC end there.
        """
        yield first
        number, is_over = first.number, False
        goes_on = first.body.startswith(b"\x7fFLAC")
        for page in self._pages:
            if page.is_first:
                self._next = page
                return
            if (page.number != number + 1 or is_over) and not self._was_gap:
                self._note_gap()
            self._was_gap = False
            number, is_over = page.number, page.is_last and not goes_on
            yield page

    def _wanted(self) -> Iterator[Page]:
        """Yield the pages of the first supported stream of every chained stream."""
        serial: int | None = None
        was_first = False
        for page in self._all_pages():
            if page.is_first:
                if not was_first:
                    serial = None
                was_first = True
                if serial is None and page.body.startswith(tuple(CODECS)):
                    serial = page.serial
                    self._before_s = self._passed_s()
                    self._passed, self._clock = 0, clock(page.body)
                    yield page
                continue
            was_first = False
            if page.serial == serial:
                self.has_end = page.is_last
                yield page
                granule = int.from_bytes(page.data[6:14], "little", signed=True)
                self._passed = max(self._passed, granule)

    _was_gap = False  # whether pages were skipped before the current one

    def _all_pages(self) -> Iterator[Page]:
        while self._fill(27):
            head = self._data[:27]
            if head[:4] == b"OggS" and self._fill(27 + head[26]):
                size = 27 + head[26] + sum(self._data[27 : 27 + head[26]])
                if self._fill(size):
                    page = self._data[:size]
                    if page_sum(page) == int.from_bytes(page[22:26], "little"):
                        self._data = self._data[size:]
                        yield Page(
                            page,
                            bool(page[5] & FIRST),
                            bool(page[5] & LAST),
                            int.from_bytes(page[14:18], "little"),
                            int.from_bytes(page[18:22], "little"),
                        )
                        continue
                elif self._data.find(b"OggS", 4) < 0:  # the last page is incomplete
                    self.has_end = False
                    return
            self._step_over()

    def _step_over(self) -> None:
        """Skip bytes that are no page."""
        lost = 0
        while self._fill(WINDOW) or self._data:
            start = self._data.find(b"OggS", 1)
            end = start if start >= 0 else len(self._data) if self._at_end else len(self._data) - 3
            lost += end
            self._data = self._data[end:]
            if start >= 0 or self._at_end:
                break
        self.lost_bytes += lost
        if not self._was_gap:
            self._note_gap()
        self._was_gap = True

    def _note_gap(self) -> None:
        if not self.gaps:
            self.first_gap_s = self._passed_s()
        self.gaps += 1

    def _passed_s(self) -> float:
        return self._before_s + (self._passed / self._clock if self._clock else 0.0)

    def _fill(self, count: int) -> bool:
        while len(self._data) < count and not self._at_end:
            part = self._source.read_available(WINDOW)
            self._at_end = not part
            self._data += part
        return len(self._data) >= count


def _flac(pages: Iterator[Page]) -> Iterator[bytes]:
    """Yield the packets of FLAC in Ogg as native FLAC: the first has a prefix of 9 bytes."""
    packet, is_first = b"", True
    for page in pages:
        offset = 0
        for size in page.lacing:
            packet += page.body[offset : offset + size]
            offset += size
            if size < 255:
                yield packet[9:] if is_first else packet
                packet, is_first = b"", False
