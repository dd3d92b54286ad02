"""Where the voices of recordings are written, and that no recording is replaced by one."""

from pathlib import Path

import pytest

from septool.batch import path_keys
from septool.batch.inputs import Input, find_inputs
from septool.batch.output_names import Job, OutputNaming, check_references_kept, plan_jobs
from septool.batch.shards import select_shard
from septool.batch.stdio import PIPE
from septool.errors import UsageError


def plan(inputs: list[Input], out: Path) -> tuple[Job, ...]:
    named = [each.label for each in inputs]
    return plan_jobs(inputs, named, OutputNaming(str(out), "{stem}_s{voice}", "wav", "m"), voices=2).jobs


def test_a_recording_is_not_replaced_by_a_voice_whatever_link_leads_to_its_folder(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    for name in ("call.wav", "call_s1.wav"):
        (folder / name).touch()
    found = list(find_inputs([str(link / "call.wav"), str(link / "call_s1.wav")], pytest.fail).recordings)
    with pytest.raises(UsageError, match=r"link/call_s1\.wav would be replaced by a voice of .*link/call\.wav"):
        plan(found, folder)
    both = [str(folder / "call.wav"), str(link / "call.wav")]
    assert [each.label for each in find_inputs(both, pytest.fail).recordings] == both[:1]


def test_what_a_link_leads_to_is_not_replaced_by_a_voice_of_it(tmp_path: Path) -> None:
    for path in (tmp_path / "in", tmp_path / "out"):
        path.mkdir()
    recording, link = tmp_path / "out" / "call_s2.wav", tmp_path / "in" / "call.wav"
    recording.touch()
    link.symlink_to(recording)
    with pytest.raises(UsageError, match=r"call\.wav would be replaced by a voice of .*call\.wav"):
        plan([Input(str(link), link)], tmp_path / "out")
    assert plan([Input(str(link), link)], tmp_path / "other")


def test_names_that_a_file_system_takes_for_one_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [Input(name, Path(name)) for name in ("Caf\u00e9.wav", "cafe\u0301.wav")]
    assert len(plan(inputs, tmp_path / "apart")) == 2
    monkeypatch.setattr(path_keys, "_ignores_case", lambda _: True)
    with pytest.raises(UsageError, match="would both be written to"):
        plan(inputs, tmp_path / "together")


def test_a_reference_is_kept_from_a_voice_by_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, references = plan([Input("call.wav", Path("call.wav"))], tmp_path / "x"), [tmp_path / "x" / "CALL_s1.wav"]
    check_references_kept(references, jobs)
    monkeypatch.setattr(path_keys, "_ignores_case", lambda _: True)
    path_keys._real_folder.cache_clear()
    with pytest.raises(UsageError, match=r"CALL_s1\.wav would be replaced by the voice of call\.wav"):
        check_references_kept(references, jobs)


def test_a_row_of_a_manifest_may_be_called_as_standard_input_is() -> None:
    row = Input(PIPE, Path("rows.jsonl/-.wav"), made_of=(Path("a.wav"),))
    assert (row.is_pipe, row.stem, row.display_name) == (False, "-", "-")
    assert Input(PIPE, Path(PIPE)).is_pipe
    (job,) = plan([row], Path("out"))
    assert [job] == select_shard([job], "1/1")
