"""Results: whole or not at all, together or not at all, and nothing of killed writers for ever."""

import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from septool import atomic
from septool.atomic import atomic_write, atomic_write_group, is_pending, recover
from septool.errors import AudioError


def test_a_file_takes_its_place_only_if_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before")
    with suppress(ZeroDivisionError), atomic_write(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before"
    with atomic_write(path) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("x", "after")]


def test_names_as_long_as_they_can_be_are_written(tmp_path: Path) -> None:
    one, other = (tmp_path / f"{'ü' * 124}_s{n}.wav" for n in (1, 2))
    with atomic_write(one) as first, atomic_write(other) as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["1", "2"]


def test_a_place_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(AudioError, match="x cannot be written: Not a directory"),
        atomic_write(tmp_path / "file/x") as p,
    ):
        p.write_text("text")


def test_content_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(file: int) -> None:
        done.append(Path(f"/proc/self/fd/{file}").resolve().name.split(".")[-1])
        sync(file)

    def replaced(source: Path, target: Path) -> None:
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with atomic_write(tmp_path / "x") as partial:
        partial.write_text("text")
    assert done == ["partial", "replace", tmp_path.name]


def test_a_file_is_brought_to_the_disk_by_who_may_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses others."""
    sync = os.fsync

    def synced(file: int) -> None:
        if not stat.S_ISDIR(os.fstat(file).st_mode):
            os.write(file, b"")  # which fails with EBADF as fsync does there
        sync(file)

    monkeypatch.setattr(os, "fsync", synced)
    with atomic_write_group([tmp_path / "a", tmp_path / "b"]) as partials:
        for partial in partials:
            partial.write_text("whole")
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["whole", "whole"]


def test_several_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "deep" / "b"]
    paths[1].parent.mkdir()
    with suppress(ZeroDivisionError), atomic_write_group(paths) as partials:
        for partial in partials:
            partial.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(AudioError, match="b cannot be written: No such file"), atomic_write_group(paths) as partials:
        partials[0].write_text("the other one was not written")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with atomic_write_group(paths) as partials:
        for partial in partials:
            partial.write_text("whole")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == paths


# Writes two files and is killed where it is told: while it writes, or behind the first of the renames.
KILLED = """
import os, signal, sys
from pathlib import Path
from septool import atomic

folder, place = Path(sys.argv[1]), sys.argv[2]
replace = os.replace

def killed(*pair):
    if place == "rename":
        replace(*pair)
        os.kill(os.getpid(), signal.SIGKILL)

atomic.os.replace = killed
with atomic.atomic_write_group([folder / "x_s1.wav", folder / "x_s2.wav"]) as partials:
    for number, partial in enumerate(partials):
        partial.write_text(f"voice {number}")
    if place == "write":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_writer(folder: Path, place: str) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(folder), place]).returncode == -signal.SIGKILL


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    kill_a_writer(tmp_path, "write")
    (tmp_path / ".mine.partial").touch()  # somebody else's name
    assert len(list(tmp_path.iterdir())) == 3
    recover(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".mine.partial"]


def test_renames_that_a_killed_writer_had_begun_are_ended(tmp_path: Path) -> None:
    kill_a_writer(tmp_path, "rename")
    one, other = tmp_path / "x_s1.wav", tmp_path / "x_s2.wav"
    assert (one.exists(), other.exists()) == (True, False)
    assert is_pending(one)
    assert is_pending(other)
    assert not is_pending(tmp_path / "y_s1.wav")
    recover(tmp_path)
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["voice 0", "voice 1"]
    assert not is_pending(one)


def test_what_is_being_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_write_group([tmp_path / "a", tmp_path / "b"]) as partials:
        for partial in partials:
            partial.touch()
        recover(tmp_path)
        assert all(partial.exists() for partial in partials)
    with monkeypatch.context() as patch:  # a machine that shares the folder; its processes cannot be asked for
        patch.setattr(atomic, "_this_machine", lambda: ("01234567", "01234567"))
        kept = atomic._own_name(tmp_path / "c", "partial")
        kept.touch()
    recover(tmp_path)
    assert kept.exists()


def test_what_was_written_before_the_machine_started_anew_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, _ = atomic._this_machine()
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_this_machine", lambda: (machine, "01234567"))
        left = atomic._own_name(tmp_path / "c", "partial")  # the number of this process, which lives
        left.touch()
    recover(tmp_path)
    assert not left.exists()


def test_a_folder_that_is_not_there_needs_no_clearing(tmp_path: Path) -> None:
    recover(tmp_path / "none")
