"""Many recordings: lists of them, the record of results, the first failure, processes, progress for machines."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import audio, checkpoints, workers
from septool.batch import runner
from septool.batch.outcomes import Completed, Failed
from septool.batch.output_names import Job
from septool.batch.record import Digests, Record
from septool.batch.runner import choose_processes
from septool.batch.settings import BatchSettings
from septool.commands import printing
from septool.commands.printing import JsonProgress
from septool.files import sha256_of
from septool.models.build import build_model
from tests.conftest import RATE, Command, voice
from tests.models.tiny import TINY


@pytest.fixture
def separate(septool: Command, tiny_checkpoint: Path, tmp_path: Path) -> Command:
    def command(*arguments: object, stdin: bytes = b""):
        model = () if "-m" in arguments else ("-m", tiny_checkpoint)
        return septool("separate", *arguments, *model, "-d", "cpu", "-o", tmp_path / "out", stdin=stdin)

    return command


@pytest.fixture
def calls(tmp_path: Path) -> list[Path]:
    """Three short recordings."""
    paths = [tmp_path / "in" / f"{name}.wav" for name in ("a", "b", "c")]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        audio.write_audio(path, voice(100 + 40 * number, seconds=0.3), RATE)
    return paths


def test_what_is_done_is_noted_before_the_next_is_handed_over(
    separate: Command, calls: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several processes results wait for their turn, and a run may end before it comes."""
    record, handed = tmp_path / "record.jsonl", Outcomes()
    monkeypatch.setattr(runner.workers, "each", handed.each)
    assert separate(*calls, "--manifest", record).status == 0
    assert handed.noted == [1, 2, 3]


class Outcomes:
    """Does all jobs before it hands over the first outcome; counts the rows after each."""

    def __init__(self) -> None:
        self.noted: list[int] = []

    def each(self, work: Callable[[Job], Any], jobs: Iterable[Job], *_: object, **__: object) -> Iterator[Any]:
        outcomes = []
        for job in jobs:
            outcomes.append(work(job))
            self.noted.append(len((job.targets[0].parent.parent / "record.jsonl").read_text().splitlines()))
        yield from outcomes


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_done_is_known_from_other_folders(
    septool: Command, tiny_checkpoint: Path, calls: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "in")
    line = ("-m", tiny_checkpoint, "-d", "cpu", "--manifest")
    assert septool("separate", "a.wav", "-o", "voices", *line, "done.jsonl").status == 0
    monkeypatch.chdir(tmp_path)
    again = septool("separate", "in/a.wav", "-o", "in/voices", *line, "in/done.jsonl", "--skip-existing", "--json")
    assert (again.status, json.loads(again.lines[0])["skipped"]) == (0, True)


# Lists.


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "marked"])
@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"\0"], ids=["lines", "windows", "nul"])
@pytest.mark.parametrize("piped", [False, True])
def test_a_list_names_recordings(
    separate: Command, calls: list[Path], tmp_path: Path, between: bytes, piped: bool, mark: bytes
) -> None:
    content = mark + between.join(str(path).encode() for path in calls[1:]) + between
    (tmp_path / "list").write_bytes(content)
    name = "-" if piped else tmp_path / "list"
    result = separate(calls[0], "--from-file", name, stdin=content if piped else b"")
    assert result.status == 0, result.errors
    assert [Path(line).name for line in result.lines] == [f"{name}_s{n}.wav" for name in "abc" for n in (1, 2)]


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        ([], b"", "nothing to work on; name recordings or folders, or a list of them with --from-file"),
        (["--from-file", "missing"], b"", "--from-file missing cannot be read: No such file or directory"),
        (["--from-file", "-"], b"\n\n", "--from-file - names no recordings"),
        (["--from-file", "-", "-"], b"a.wav\n", "--from-file - takes standard input for the list"),
        (["a.wav", "--manifest", "."], b"", "--manifest . is a folder; name a file"),
        (["a.wav", "--manifest", "other.jsonl"], b"", "--manifest other.jsonl is no list of results"),
    ],
)
def test_wrong_usage(
    separate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], stdin: bytes, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.jsonl").write_text('{"id": "a mixture"}\n')
    result = separate(*arguments, stdin=stdin)
    assert result.status == 2
    assert said in result.errors[-1]
    assert not (tmp_path / "out").exists()


# The record.


def test_a_row_tells_what_came_of_what(
    separate: Command, calls: list[Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    record = tmp_path / "results.jsonl"
    assert separate(*calls[:2], tmp_path / "missing.wav", "--manifest", record, "--segment", 10).status == 1
    first, second, failed = rows(record)
    assert failed == {"input": str(tmp_path / "missing.wav"), "error": f"{tmp_path / 'missing.wav'} does not exist"}
    assert (first["input"], second["input"]) == (str(calls[0]), str(calls[1]))
    assert first["input_sha256"] == sha256_of(calls[0])
    assert first["checkpoint_sha256"] == sha256_of(tiny_checkpoint)
    assert first["settings"]["segment"] == 10
    assert first["seconds"] == 0.3
    assert first["rtf"] == pytest.approx(first["elapsed"] / 0.3, abs=0.01)
    for output in first["outputs"]:
        path = Path(output["path"])
        assert (output["bytes"], output["sha256"]) == (path.stat().st_size, sha256_of(path))


def test_only_what_is_as_the_record_says_counts_as_done(separate: Command, calls: list[Path], tmp_path: Path) -> None:
    record, out = tmp_path / "results.jsonl", tmp_path / "out"
    line = (*calls, "--manifest", record, "--skip-existing")
    assert separate(*line).status == 0
    before = {path: path.read_bytes() for path in out.glob("*.wav")}
    again = separate(*line)
    assert (again.status, len(rows(record))) == (0, 3)
    assert again.errors[-1] == "septool: 3 there already"

    cut, replaced = out / "a_s2.wav", out / "b_s1.wav"
    cut.write_bytes(before[cut][:-100])  # as a copy that broke off
    replaced.write_bytes(before[out / "c_s1.wav"])
    noticed = separate(*line)
    assert noticed.status == 1
    for name, path in (("a", cut), ("b", replaced)):
        text = f"{out}/{name}_s1.wav exists, but {path} is not what was written then; use --force to do it again"
        assert any(line.endswith(text) for line in noticed.errors)
    mended = separate(*line, "--force")
    assert mended.status == 0
    assert "septool: 2 done, 1 there already" in mended.errors
    assert {path: path.read_bytes() for path in out.glob("*.wav")} == before
    assert len(rows(record)) == 7  # two failures and two that were done again


OUTPUT = {"path": "x_s1.wav", "sha256": None}
ROW = {
    "input": "x",
    "model": "galr",
    "checkpoint_sha256": "0",
    "settings": {},
    "input_sha256": None,
    "outputs": [OUTPUT],
}


@pytest.mark.parametrize(
    "row",
    [
        *({key: value for key, value in ROW.items() if key != name} for name in list(ROW)[1:]),
        *(ROW | other for other in ({"settings": []}, {"outputs": [{"path": "x_s1.wav"}]}, {"outputs": [OUTPUT, "x"]})),
    ],
)
def test_rows_that_lack_something_count_for_nothing(tmp_path: Path, row: dict[str, Any]) -> None:
    path, job = tmp_path / "results.jsonl", Job("x", Path("x"), targets=(Path("x_s1.wav"),))
    path.write_text(json.dumps(row) + "\n")
    assert Record(path, "galr", "0", {}).difference(job) == f"{path} does not know it"
    path.write_text(json.dumps(ROW) + "\n")
    assert Record(path, "galr", "0", {}).difference(job) is None


def test_a_row_begins_a_line_whatever_the_last_one_was_cut_off_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pread", raising=False)  # which Windows does not have
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW)[:20])
    record = Record(path, "galr", "0", {})
    for name in ("y", "z"):
        record.add(Failed(name, "it is damaged"), None)
    whole, _, *added = path.read_text().splitlines()
    assert json.loads(whole) == ROW
    assert list(map(json.loads, added)) == [{"input": name, "error": "it is damaged"} for name in ("y", "z")]


def test_the_mix_of_all_channels_is_the_default(separate: Command, calls: list[Path], tmp_path: Path) -> None:
    record, call = tmp_path / "results.jsonl", calls[0]
    line = ("--manifest", record, "--skip-existing")
    separate(call, *line)
    (row,) = rows(record)
    assert row["settings"]["channel"] == "mix"
    assert separate(call, *line, "--channel", "mix").errors == [f"septool: {call}: there already"]
    row["settings"]["channel"] = None  # as older records have it
    record.write_text(json.dumps(row) + "\n")
    for channel in ((), ("--channel", "mix")):
        assert separate(call, *line, *channel).errors == [f"septool: {call}: there already"]
    other = separate(call, *line, "--channel", "1").errors[-1]
    assert "exists, but it was made with channel None, not 1; use --force" in other


def test_other_settings_weights_and_recordings_are_noticed(
    separate: Command, calls: list[Path], tmp_path: Path
) -> None:
    record, call = tmp_path / "results.jsonl", calls[0]
    line = ("--manifest", record, "--skip-existing")
    separate(call, *line)
    said = separate(call, *line, "--segment", 20).errors[-1]
    assert "exists, but it was made with segment 30.0, not 20.0; use --force to do it again" in said
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    header = checkpoints.Header(model="papez", config=TINY["papez"], sample_rate=RATE, sources=2)
    checkpoints.save(other, build_model("papez", TINY["papez"]).state_dict(), header)
    said = separate(call, *line, "-m", other).errors[-1]
    assert "exists, but it was made by another checkpoint, tiny; use --force" in said
    shutil.copy(calls[1], call)
    assert "exists, but the recording is not the same any more; use --force" in separate(call, *line).errors[-1]
    audio.write_audio(tmp_path / "out/b_s1.wav", np.zeros(9), RATE)
    audio.write_audio(tmp_path / "out/b_s2.wav", np.zeros(9), RATE)
    assert f"exists, but {record} does not know it; use --force" in separate(calls[1], *line).errors[-1]


def test_a_line_that_was_not_finished_harms_nobody(separate: Command, calls: list[Path], tmp_path: Path) -> None:
    record = tmp_path / "results.jsonl"
    separate(calls[0], "--manifest", record)
    record.write_bytes(record.read_bytes() + b'{"input": "x", "outp')  # killed
    assert separate(*calls[:2], "--manifest", record, "--skip-existing").status == 0
    lines = record.read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["input"] == str(calls[1])


# Failures, processes.


@pytest.mark.parametrize("jobs", [1, 2] if workers.FORKS else [1])
def test_the_first_failure_ends_it_if_asked(separate: Command, calls: list[Path], tmp_path: Path, jobs: int) -> None:
    line = (calls[0], tmp_path / "missing.wav", *calls[1:], "-j", jobs)
    result = separate(*line, "--fail-fast")
    assert result.status == 1
    assert [Path(line).name for line in result.lines] == ["a_s1.wav", "a_s2.wav"]
    assert len(separate(*line, "--force").lines) == 6


@pytest.mark.parametrize(
    ("sizes", "device", "processes"),
    [
        ([100] * 8, "cpu", 4),
        ([100] * 7, "cpu", 1),  # fewer than keep four busy to the end
        ([100] * 8 + [10_000], "cpu", 1),  # one that takes longer than all others
        ([100] * 8, "cuda", 1),
    ],
)
def test_processes_are_as_many_as_keep_the_processors_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int], device: str, processes: int
) -> None:
    monkeypatch.setattr(runner.workers, "cores", lambda: 4)
    monkeypatch.setattr(runner.workers, "FORKS", True)
    jobs = []
    for number, size in enumerate(sizes):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(bytes(size))
        jobs.append(Job(str(path), path))
    batch = BatchSettings(out=".", name="{voice}", suffix="wav", segment=30, overlap=4, device=torch.device(device))
    assert choose_processes(batch, jobs) == processes
    assert choose_processes(batch, [*jobs, Job("-", Path("-"))]) == 1


# Progress.


def test_progress_for_machines(separate: Command, calls: list[Path]) -> None:
    result = separate(*calls, "--progress", "json", "-q", "-j", 1)
    told = [json.loads(line) for line in result.errors]
    assert told
    last = told[-1]
    assert (last["recording"], last["done_s"], last["total_s"], last["files_done"]) == (str(calls[2]), 0.3, 0.3, 3)
    assert last["left_s"] == 0
    assert last["speed"] > 0


def test_progress_of_several_processes_is_told_by_what_is_done(separate: Command, calls: list[Path]) -> None:
    result = separate(*calls, "--progress", "json", "-q", "-j", 2)
    last = json.loads(result.errors[-1])
    assert (last["files_done"], last["files_done_s"]) == (3, 0.9)
    assert last["files_speed"] > 0
    assert last["recording"] is None


def test_progress_is_told_regularly_while_nothing_happens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printing, "INTERVAL_S", 0.001)
    with JsonProgress(quiet=True) as progress:
        progress.follow("x.wav", 5.0, 20.0)
        end = time.monotonic() + 60
        while capsys.readouterr().err.count("\n") < 3:  # without another word of how far it is
            assert time.monotonic() < end
            time.sleep(0.01)
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["done_s"] == 5.0


def test_a_mixture_is_known_by_the_recordings_that_it_is_made_of(tmp_path: Path) -> None:
    parts, output = (tmp_path / "a.wav", tmp_path / "b.wav"), tmp_path / "x_voice.wav"
    for path in (*parts, output):
        path.write_bytes(path.name.encode())
    job = Job("x", tmp_path / "rows.jsonl/x.wav", made_of=parts, targets=(output,))
    record = Record(tmp_path / "results.jsonl", "galr", "0", {})
    done = Completed(input="x", model="galr", seconds=1.0, elapsed=1.0, rate=8000, channels=1, clipped=0)
    record.add(done, Digests.of(job, [str(output)], {output: sha256_of(output)}))
    assert record.difference(job) is None
    parts[1].write_bytes(b"exchanged")
    assert record.difference(job) == "the recording is not the same any more"


def test_a_voice_is_hashed_once(separate: Command, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    digest = hashlib.file_digest

    def note(file: Any, *kind: Any) -> Any:
        hashed.append(Path(file.name).name.removesuffix(".part"))
        return digest(file, *kind)

    monkeypatch.setattr(hashlib, "file_digest", note)
    assert separate(call, "--manifest", tmp_path / "results.jsonl").status == 0
    assert sorted(name for name in hashed if name.endswith(".wav")) == ["call.wav", "call_s1.wav", "call_s2.wav"]
