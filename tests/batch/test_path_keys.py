"""Which paths lead to one file."""

from pathlib import Path

import pytest

from septool.batch import path_keys
from septool.batch.path_keys import abspath_key


def test_a_folder_is_asked_whether_case_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    assert not path_keys._ignores_case(folder)
    (tmp_path / "CALLS").symlink_to(folder)  # which says nothing of other names
    assert not path_keys._ignores_case(folder)
    lstat = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: lstat(path.with_name(path.name.lower())))
    assert path_keys._ignores_case(folder)
    assert path_keys._ignores_case(folder / "2026" / "11")  # not there yet, or without a letter
    assert abspath_key(tmp_path / "Calls" / "A.wav") != abspath_key(tmp_path / "Calls" / "B.wav")
