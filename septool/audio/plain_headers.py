"""Headers of uncompressed formats: where samples begin, how many are announced, and whether that is plausible.

WAV (RIFF, RIFX, RF64, BW64), W64, AIFF and AIFF-C, AU, CAF and NIST SPHERE. What follows the announced samples decides
whether there are more of them: other chunks, as there should be, or samples, where a 32-bit size wrapped around or a
recorder was killed before it could write the size.
"""

import re
from dataclasses import dataclass
from typing import Literal

from septool.audio.sources import FARTHEST, ByteSource

HEADER_LIMIT = 2**24  # bytes before the samples: pictures and descriptions of a broadcast can be large
PLACEHOLDER = 2**16  # below 2^31 and 2^32: sizes that writers to a pipe put into a field of 32 bits
W64_RIFF, W64_DATA = (
    b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",
    b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a",
)
CHUNKS_AFTER = frozenset(
    b"LIST|fact|cue |smpl|bext|id3 |ID3 |JUNK|junk|FLLR|PEAK|inst|iXML|_PMX|afsp|plst|labl|note|PAD |umid|cart|"
    b"levl|minf|regn|elm1|axml|chna|SNDM|slnt|strc|acid|DISP|MARK|COMT|INST|NAME|AUTH|(c) |ANNO|APPL|MIDI|AESD|SAXL|"
    b"COMM|FVER|info|strg|mark|peak|ovvw|chan|kuki|pakt|free|uuid|edct|levl|list|summ|RIFF|RIFX|RF64|FORM|riff|caff".split(
        b"|"
    )
)
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
PADDING_BYTES = 2**20  # up to which a file may be filled up
PADDING_S = 0.1  # least length of unannounced samples that is a reason to doubt the header


@dataclass(frozen=True)
class SampleData:
    """Where a container's samples are."""

    offset: int  # bytes before them
    announced: int | None  # bytes of them; None where the header says that nobody knew
    big_endian_chunks: bool = False
    has_chunks: bool = True
    size_field: tuple[int, int] | None = None  # place and length of the announcement, of a WAV


def locate_samples(source: ByteSource) -> SampleData | None:
    """Return where the samples of a container begin; None if it is not one of those here, or damaged.

    What is before them is kept in memory, so that a header that is too long counts as damaged.
    """
    data = _locate(source)
    return data if data is not None and 0 < data.offset <= HEADER_LIMIT else None


def _locate(source: ByteSource) -> SampleData | None:
    head = source.peek(0, 40)
    match head[:4]:
        case b"RIFF" | b"RF64" | b"BW64" if head[8:12] == b"WAVE":
            return _wav(source, "little")
        case b"RIFX" if head[8:12] == b"WAVE":
            return _wav(source, "big")
        case b"FORM" if head[8:12] in (b"AIFF", b"AIFC"):
            return _aiff(source)
        case b".snd" | b"dns.":
            order = "big" if head[:4] == b".snd" else "little"
            offset, size = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
            offset = max(offset, 24)  # the header itself; less is none that any writer means
            return SampleData(offset, _without_placeholder(size, source, offset), has_chunks=False)
        case b"caff":
            return _caf(source)
        case b"riff" if head[:16] == W64_RIFF:
            return _w64(source)
        case b"NIST":
            return _sphere(source)
    return None


def _without_placeholder(size: int, source: ByteSource, offset: int) -> int | None:
    """Return a size of 32 bits, or None if it only stands where a writer to a pipe knew none.

    Between the two ranges of those there are true sizes, of recordings over 2 GiB.
    """
    can_be = 2**31 - PLACEHOLDER <= size < 2**31 or size >= 2**32 - PLACEHOLDER
    is_there = source.size is not None and size <= source.size - offset
    return None if can_be and not is_there else size


def _wav(source: ByteSource, order: Literal["little", "big"]) -> SampleData | None:
    offset, long_size = 12, None
    while offset < HEADER_LIMIT and len(head := source.peek(offset, 8)) == 8:
        size = int.from_bytes(head[4:], order)
        if head[:4] == b"ds64":
            long_size = int.from_bytes(source.peek(offset + 16, 8), "little")
        if head[:4] == b"data":
            if long_size is not None and size == 2**32 - 1:
                size = long_size if long_size < 2**63 else None
            else:
                size = _without_placeholder(size, source, offset + 8)
            return SampleData(offset + 8, size, big_endian_chunks=order == "big", size_field=(offset + 4, 4))
        offset += 8 + size + size % 2
    return None


def _aiff(source: ByteSource) -> SampleData | None:
    offset = 12
    described = False
    while offset < HEADER_LIMIT and len(head := source.peek(offset, 8)) == 8:
        size = int.from_bytes(head[4:], "big")
        described |= head[:4] == b"COMM"
        if head[:4] == b"SSND":
            if not described:
                return None
            skipped = int.from_bytes(source.peek(offset + 8, 4), "big")
            announced = _without_placeholder(size, source, offset + 8)
            return SampleData(
                offset + 16 + skipped, None if announced is None else max(announced - 8 - skipped, 0), True
            )
        offset += 8 + size + size % 2
    return None


def _caf(source: ByteSource) -> SampleData | None:
    offset = 8
    while offset < HEADER_LIMIT and len(head := source.peek(offset, 12)) == 12:
        size = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"data":
            return SampleData(offset + 16, None if size < 0 else max(size - 4, 0), True)
        if size < 0:
            return None
        offset += 12 + size
    return None


def _w64(source: ByteSource) -> SampleData | None:
    offset = 40
    while offset < HEADER_LIMIT and len(head := source.peek(offset, 24)) == 24:
        size = int.from_bytes(head[16:], "little")
        if head[:16] == W64_DATA:
            return SampleData(offset + 24, max(size - 24, 0) if size < 2**63 else None)
        if size < 24:
            return None
        offset += size + -size % 8
    return None


def _sphere(source: ByteSource) -> SampleData | None:
    head = source.peek(0, 2**14)
    try:
        offset = int(head[8:16])
    except ValueError:
        return None
    fields = dict(re.findall(rb"^(\w+) -[is]\d* (\d{1,18})(?!\S)", head[:offset], re.MULTILINE))
    try:
        count, width, channels = (int(fields[name]) for name in (b"sample_count", b"sample_n_bytes", b"channel_count"))
    except KeyError:
        return None
    size = count * width * channels
    return SampleData(offset, size if size <= FARTHEST else None, has_chunks=False)


def length_of_samples(source: ByteSource, data: SampleData, second: int) -> int:
    """Return how many bytes of samples a regular file holds, whatever its header says; ``second`` is a second of them.

    What cannot be a chunk behind the announced samples belongs to them.
    """
    assert source.size is not None
    rest = max(source.size - data.offset, 0)
    if data.announced is None or data.announced >= rest:
        return rest
    tail = rest - data.announced
    if tail < PADDING_S * second or not is_sound(source, data, data.offset + data.announced, second):
        return data.announced
    return rest


def is_sound(source: ByteSource, data: SampleData, offset: int, second: int) -> bool:
    """Return whether what follows the announced samples are more samples, rather than chunks, tags or padding."""
    head = source.peek(offset, max(int(PADDING_S * second), 16))
    if len(head) < PADDING_S * second or head.startswith(TAGS):
        return False
    if data.has_chunks:
        for skip in (0, 1):  # chunks begin at even places, which some writers forget
            if head[skip : skip + 4] in CHUNKS_AFTER:
                return False
            size = int.from_bytes(head[skip + 4 : skip + 8], "big" if data.big_endian_chunks else "little")
            left = 2**24 if source.size is None else source.size - offset - skip - 8
            if head[skip : skip + 4].isascii() and head[skip : skip + 4].decode().isprintable() and size <= left:
                return False
    return source.size is None or not _is_zero(source, offset)


def has_second_samples(source: ByteSource, data: SampleData) -> bool:
    """Return whether another chunk of samples follows, as an editor that failed to join two files leaves."""
    if data.size_field is None or not data.announced:
        return False
    order = "big" if data.big_endian_chunks else "little"
    head = source.peek(data.offset + data.announced, 9)
    found = (head[skip : skip + 8] for skip in (0, 1))  # chunks begin at even places, which some writers forget
    return any(chunk[:4] == b"data" and int.from_bytes(chunk[4:], order) > 0 for chunk in found)


def _is_zero(source: ByteSource, offset: int) -> bool:
    """Return whether a file is filled up with zeros, of which there are few; more are silence."""
    return len(rest := source.peek(offset, PADDING_BYTES + 1)) <= PADDING_BYTES and not rest.strip(b"\0")
