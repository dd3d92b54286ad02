"""Working on recordings: what a run that was killed left, another brings to its end."""

from pathlib import Path

from septool.inference import runner
from septool.inference.paths import Job
from tests.test_atomic import kill_a_writer


def job(folder: Path, *names: str) -> Job:
    return Job("x.wav", Path("x.wav"), targets=tuple(folder / name for name in names))


def test_voices_whose_renames_were_cut_off_are_all_there(tmp_path: Path) -> None:
    kill_a_writer(tmp_path, "rename")
    begun = job(tmp_path, "x_s1.wav", "x_s2.wav")
    assert not begun.targets[1].exists()
    assert runner._existing_targets(begun) == list(begun.targets)
    assert begun.targets[1].read_text() == "voice 1"


def test_a_voice_alone_is_somebodys(tmp_path: Path) -> None:
    (tmp_path / "x_s1.wav").touch()
    begun = job(tmp_path, "x_s1.wav", "x_s2.wav")
    assert runner._existing_targets(begun) == [begun.targets[0]]
