"""Which recordings are found by what the user names."""

from pathlib import Path

import pytest

from septool import audio
from septool.batch.inputs import find_inputs
from septool.batch.output_names import looks_like_file
from septool.inference.enrollment import Reference, parse_reference


def test_every_format_that_can_be_written_names_a_file(tmp_path: Path) -> None:
    assert all(looks_like_file(str(tmp_path / f"alice{suffix}")) for suffix in audio.WRITTEN)


def test_a_name_that_the_system_refuses_does_not_keep_others_from_being_found(tmp_path: Path) -> None:
    (tmp_path / "call.wav").touch()
    names = ["x" * 300 + ".wav", str(tmp_path / "call.wav")]
    assert [each.label for each in find_inputs(names, pytest.fail).recordings] == names
    assert looks_like_file(names[0])
    assert parse_reference(names[0] + "@1-2") == Reference(Path(names[0] + "@1-2"))
