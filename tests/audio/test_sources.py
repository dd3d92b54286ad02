"""Byte sources, also where the system lacks what they are read with elsewhere."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from septool.audio.sources import FileSource, open_source


@pytest.fixture(params=["with pread", "without pread"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems that read from any place at once, and Windows, which does not."""
    if request.param == "without pread":
        monkeypatch.delattr(os, "pread", raising=False)


@pytest.mark.usefixtures("system")
def test_a_file_is_read_from_any_place(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(range(100)))
    source = open_source(tmp_path / "x")
    assert source.read(10) == bytes(range(10))
    assert source.peek(90, 20) == bytes(range(90, 100))
    assert source.read(5) == bytes(range(10, 15))
    source.seek(50)
    assert source.read_available(5) == bytes(range(50, 55))
    source.close()


@pytest.mark.usefixtures("system")
def test_those_who_read_a_file_again_do_not_move_one_another(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content := os.urandom(100_000))
    first = open_source(tmp_path / "x")
    assert isinstance(first, FileSource)
    sources = [first, *(first.again() for _ in range(3))]

    def read_through(source: FileSource) -> bytes:
        return b"".join(source.read(100) for _ in range(1000))

    with ThreadPoolExecutor(len(sources)) as pool:
        assert list(pool.map(read_through, sources)) == [content] * len(sources)
    for source in sources:
        source.close()
