"""Headers of uncompressed formats that say what cannot be."""

import io
import struct
from collections.abc import Callable

import pytest

from septool.audio.plain_headers import HEADER_LIMIT, SampleData, locate_samples
from septool.audio.sources import StreamSource

FRAMES = 1000


def au(offset: int) -> bytes:
    return b".snd" + struct.pack(">5I", offset, 2 * FRAMES, 3, 8000, 1)


def aiff(offset: int) -> bytes:
    described = b"COMM" + struct.pack(">IhIh", 18, 1, FRAMES, 16) + bytes.fromhex("400bfa") + bytes(7)
    begun = b"FORM" + struct.pack(">I", 0) + b"AIFF" + described + b"SSND"
    return begun + struct.pack(">III", offset - len(begun) - 12 + 8 + 2 * FRAMES, offset - len(begun) - 12, 0)


def sphere(offset: int, count: str = str(FRAMES)) -> bytes:
    fields = {"sample_count": count, "channel_count": "1", "sample_n_bytes": "2", "sample_rate": "8000"}
    lines = [f"{name} -i {value}" for name, value in fields.items()]
    return "\n".join(["NIST_1A", f"{offset:>7}", *lines, "end_head\n"]).encode()


def located(header: bytes) -> SampleData | None:
    return locate_samples(StreamSource(io.BytesIO(header.ljust(1024)), "a pipe"))


@pytest.mark.parametrize("header", [au, aiff, sphere])
def test_samples_begin_no_later_than_can_be_kept_in_memory(header: Callable[[int], bytes]) -> None:
    data = located(header(1024))
    assert data is not None
    assert (data.offset, data.announced) == (1024, 2 * FRAMES)
    assert located(header(HEADER_LIMIT + 2)) is None


@pytest.mark.parametrize(
    "header",
    [au(2**31), aiff(2**31), sphere(-100), sphere(0), sphere(1024, "9" * 5000)],
    ids=["au", "aiff", "before the header", "no header", "digits"],
)
def test_what_no_writer_means_is_no_header(header: bytes) -> None:
    assert located(header) is None


def test_more_samples_than_there_can_be_are_not_announced() -> None:
    header = sphere(1024, "9" * 18).replace(b"channel_count -i 1", b"channel_count -i 1000")
    assert located(header) == SampleData(1024, None, has_chunks=False)
