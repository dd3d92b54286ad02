"""Lists of trials."""

from collections import Counter
from pathlib import Path

import pytest

from septool.data import trials
from septool.errors import ManifestError
from tests.conftest import ROOT


def test_files_are_found_from_the_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("1\ta/1.wav\ta/\u2028.wav\n0 a/1.wav b/1.wav\n \n\n", encoding="utf-8")
    a, b = trials.read_trials(path)
    assert a == (True, tmp_path / "a/1.wav", tmp_path / "a/\u2028.wav")
    assert (b.same, b.second) == (False, tmp_path / "b/1.wav")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    plain = [trials.Trial(True, Path("a/1.wav"), Path("a/2.wav")), trials.Trial(False, Path("a/1.wav"), Path("b.wav"))]
    spaced = [trials.Trial(same, Path("my set") / first, second) for same, first, second in plain]
    for written in (plain, spaced):
        path = tmp_path / "list.txt"
        path.write_text(trials.dump_trials(written))
        assert trials.read_trials(path) == [(same, tmp_path / one, tmp_path / other) for same, one, other in written]
    assert trials.dump_trials(plain) == "1 a/1.wav a/2.wav\n0 a/1.wav b.wav\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 a b\n\n0 a c\n", "line 2: '' is no trial; one reads: 1 FILE FILE, or 0"),
        ("1 a b\n2 a c\n", "line 2: '2 a c' is no trial"),
        ("1 a b\n1 a c\n", "needs trials of both kinds"),
        ("", "needs trials of both kinds"),
    ],
)
def test_a_bad_list_is_worded(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ManifestError, match=f"list.txt.*{said}"):
        trials.read_trials(path)


def test_a_missing_list_and_one_that_is_no_text_are_worded(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not exist; a list of trials has lines that read: 1 FILE FILE, or 0"):
        trials.read_trials(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ManifestError, match="it is not text"):
        trials.read_trials(tmp_path / "list.txt")


def test_the_committed_list_has_as_many_trials_of_one_speaker_as_of_two() -> None:
    listed = trials.read_trials(ROOT / "benchmarks/trials.txt")
    assert Counter(trial.same for trial in listed) == {True: 1040, False: 1040}
    assert all((trial.first.parent == trial.second.parent) == trial.same for trial in listed)
    assert all(trial.first != trial.second for trial in listed)
    assert len({trial.first.parent for trial in listed}) == 26
