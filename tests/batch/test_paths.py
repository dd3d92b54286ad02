"""Which recordings are done here, and that none is replaced by a voice."""

from pathlib import Path

import pytest

from septool.batch import paths
from septool.batch.paths import PIPE, Input, Job, abspath_key, find_inputs, looks_like_file, plan_jobs, select_shard
from septool.errors import UsageError
from septool.inference.channels import parse_channel
from septool.inference.enrollment import Reference, parse_reference

DIGITS = "9" * 5000  # more than int() takes
JOBS = [Job(f"calls/{number}.wav", Path(f"calls/{number}.wav")) for number in range(2000)]


@pytest.mark.parametrize("parts", [1, 3, 16])
def test_every_recording_is_in_one_part_and_parts_are_alike(parts: int) -> None:
    shards = [select_shard(JOBS, f"{part}/{parts}") for part in range(1, parts + 1)]
    assert sorted(job.label for part in shards for job in part) == sorted(job.label for job in JOBS)
    assert max(map(len, shards)) < 1.3 * len(JOBS) / parts


def test_a_part_does_not_depend_on_what_else_is_there() -> None:
    before = select_shard(JOBS, "2/3")
    after = select_shard([*JOBS, Job("calls/7_s1.wav", Path("calls/7_s1.wav"))], "2/3")
    assert [job for job in after if job in JOBS] == before
    assert select_shard(JOBS, None) == JOBS


@pytest.mark.parametrize(
    "shard", ["", "3", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "one/two", "1.5/2", f"1/{DIGITS}", f"{DIGITS}/2"]
)
def test_what_is_no_part_is_refused(shard: str) -> None:
    with pytest.raises(UsageError, match=r"write it as I/N, with I from 1 to N, such as 3/16"):
        select_shard(JOBS, shard)


@pytest.mark.parametrize("channel", ["0", "-1", "1.5", "left", "1025", DIGITS])
def test_what_is_no_channel_is_refused(channel: str) -> None:
    assert parse_channel("1024") == 1024
    with pytest.raises(UsageError, match=r"it can be a number from 1 to 1024, mix or each"):
        parse_channel(channel)


def test_standard_input_has_no_parts() -> None:
    with pytest.raises(UsageError, match="--shard 1/2 takes files"):
        select_shard([Job(PIPE, Path(PIPE))], "1/2")


def test_a_name_that_the_system_refuses_does_not_keep_others_from_being_found(tmp_path: Path) -> None:
    (tmp_path / "call.wav").touch()
    names = ["x" * 300 + ".wav", str(tmp_path / "call.wav")]
    assert [each.label for each in find_inputs(names, pytest.fail).recordings] == names
    assert looks_like_file(names[0])
    assert parse_reference(names[0] + "@1-2") == Reference(Path(names[0] + "@1-2"))


def plan(inputs: list[Input], out: Path) -> tuple[Job, ...]:
    named = [each.label for each in inputs]
    return plan_jobs(inputs, named, out=str(out), name="{stem}_s{voice}", suffix="wav", voices=2, model="m").jobs


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
    monkeypatch.setattr(paths, "_ignores_case", lambda _: True)
    with pytest.raises(UsageError, match="would both be written to"):
        plan(inputs, tmp_path / "together")


def test_a_folder_is_asked_whether_case_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    assert not paths._ignores_case(folder)
    (tmp_path / "CALLS").symlink_to(folder)  # which says nothing of other names
    assert not paths._ignores_case(folder)
    lstat = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: lstat(path.with_name(path.name.lower())))
    assert paths._ignores_case(folder)
    assert paths._ignores_case(folder / "2026" / "11")  # not there yet, or without a letter
    assert abspath_key(tmp_path / "Calls" / "A.wav") != abspath_key(tmp_path / "Calls" / "B.wav")


def test_a_row_of_a_manifest_may_be_called_as_standard_input_is() -> None:
    row = Input(PIPE, Path("rows.jsonl/-.wav"), made_of=(Path("a.wav"),))
    assert (row.is_pipe, row.stem, row.display_name) == (False, "-", "-")
    assert Input(PIPE, Path(PIPE)).is_pipe
    (job,) = plan([row], Path("out"))
    assert [job] == select_shard([job], "1/1")
