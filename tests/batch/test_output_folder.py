"""What is known of the files in an output folder."""

import json
import os
import shutil
from pathlib import Path

import pytest

from septool.batch.output_folder import OUTPUT_LIST, OutputLists, record_outputs


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "a_s1.wav"
    path.parent.mkdir()
    path.write_bytes(b"a voice")
    record_outputs([path])
    return path


def test_what_was_written_is_known_again_until_it_is_changed(written: Path) -> None:
    assert OutputLists().is_output(written)
    before = written.stat()
    written.write_bytes(b"another")
    os.utime(written, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))  # clocks of files may be slow
    assert written.stat().st_size == before.st_size
    assert not OutputLists().is_output(written)
    written.write_bytes(b"another one")
    assert not OutputLists().is_output(written)
    written.unlink()
    assert not OutputLists().is_output(written)


def test_copies_of_a_folder_are_known_whatever_their_times(written: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(written.parent, tmp_path / "copied") / written.name
    os.utime(copied, (0, 0))
    assert OutputLists().is_output(copied)


def test_older_lists_have_sizes_alone(written: Path) -> None:
    (written.parent / OUTPUT_LIST).write_text(json.dumps({"name": written.name, "bytes": 7}) + "\n")
    assert OutputLists().is_output(written)
    written.write_bytes(b"another one")
    assert not OutputLists().is_output(written)


@pytest.mark.parametrize("row", ["[1]", "{}", '{"name": "a_s1.wav"}', '{"name": "a_s1.wav", "bytes": Infinity}'])
def test_rows_that_say_nothing_count_for_nothing(written: Path, row: str) -> None:
    (written.parent / OUTPUT_LIST).write_text(row + "\n")
    assert not OutputLists().is_output(written)
