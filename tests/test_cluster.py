"""The same to many items on a cluster: in order, and done again where a worker is lost."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from septool.batch import runner
from septool.batch.outcomes import Failed
from septool.batch.output_names import Job
from septool.batch.record import Record
from septool.batch.runner import FindWritten, Task
from septool.batch.settings import BatchSettings, Cluster
from septool.cluster import _each, check_address, spread
from septool.errors import SeptoolError, UsageError
from septool.workers import cores
from tests.conftest import Command, files_below

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    """A cluster within this process."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client


@pytest.mark.parametrize("address", ["local", "local:", "local:0", "local:\u0660", "local:x", "", "localhost"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(
        UsageError, match=r"^cluster is .*; it is local:N, such as local:4, or tcp://HOST:PORT of a scheduler"
    ):
        check_address(address)


@pytest.mark.parametrize("number", ["1025", "9" * 5000])
def test_more_workers_than_processes_are_refused(number: str) -> None:
    with pytest.raises(UsageError, match=r"^cluster is .*; local:N has 1 to 1024 workers"):
        check_address(f"local:{number}")


def test_without_a_cluster_processes_work() -> None:
    assert list(spread(abs, range(-3, 0), 1, None)) == [3, 2, 1]


def test_results_come_in_order_and_items_are_taken_as_they_are_needed(client: object) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    results = _each(client, lambda number: (time.sleep(0.01 * (number % 3)), -number)[1], items(), None)  # type: ignore[arg-type]
    assert next(results) == 0
    assert len(taken) < 20
    assert list(results) == [-number for number in range(1, 50)]


def test_workers_keep_what_networks_free() -> None:
    def kept(name: str) -> str | None:
        import os

        return os.environ.get(name)

    names = ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "OMP_NUM_THREADS"]
    trim, map_, threads = spread(kept, names, 1, "local:1")
    assert int(trim or 0) > 10**8
    assert int(map_ or 0) > 10**7
    assert threads == str(cores())


def test_dask_reports_no_connections(caplog: pytest.LogCaptureFixture) -> None:
    assert list(spread(abs, [-1], 1, "local:1")) == [1]
    assert [record.getMessage() for record in caplog.records if record.name.startswith("distributed")] == []


def test_what_fails_is_raised_here(client: object) -> None:
    def refuse(number: int) -> int:
        if number == 2:
            raise SeptoolError("two is too much")
        return number

    results = _each(client, refuse, range(5), None)  # type: ignore[arg-type]
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(SeptoolError, match="two is too much"):
        next(results)


def test_a_scheduler_that_goes_away_is_one_line(client: Any) -> None:
    results = _each(client, slow, range(3), None)
    assert next(results) == 0
    client.cancel([distributed.Future(key, client) for key in client.futures], force=True)  # as it does without one
    with pytest.raises(SeptoolError, match="the scheduler of the cluster is gone; what was finished is kept"):
        list(results)


def slow(item: int) -> int:
    time.sleep(0.1 * (item > 0))
    return item


def test_a_worker_without_the_device_fails_its_recordings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "worker_number", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    cluster = Cluster("tcp://127.0.0.1:9", "cuda")
    batch = BatchSettings(
        out=str(tmp_path),
        name="{stem}_s{voice}",
        suffix="wav",
        segment=2.0,
        overlap=1.0,
        device=torch.device("cpu"),
        cluster=cluster,
    )
    job = Job("a.wav", tmp_path / "a.wav", targets=(tmp_path / "b.wav",))
    outcome = runner._run_job_on_worker(batch, lambda _: pytest.fail("works"), None, None, (job, True))
    assert isinstance(outcome.result, Failed)
    assert "device cuda is not there" in outcome.result.error


def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("septool.cluster.PATIENCE_S", 0.2)
    with pytest.raises(SeptoolError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        list(spread(abs, [1], 1, "tcp://127.0.0.1:9"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--jobs", 2), "has workers of its own; leave out --jobs"),
        (("-o", "-"), "writes files; name a folder with --out"),
        (("--speakers", "auto"), "is not for conversations; leave out --speakers"),
    ],
)
def test_what_does_not_go_with_a_cluster(separate: Command, call: Path, options: tuple[object, ...], said: str) -> None:
    result = separate(call, "--cluster", "local:1", *options)
    assert (result.status, result.errors) == (2, [f"septool: --cluster local:1 {said}"])


def test_a_device_that_no_worker_can_have_is_refused_before_the_cluster_starts(
    septool: Command, tiny_checkpoint: Path, call: Path
) -> None:
    result = septool("separate", call, "-m", tiny_checkpoint, "--cluster", "local:1", "--device", "gpux")
    said = "septool: unknown device 'gpux'; it can be auto, cpu, cuda, cuda:N or mps"
    assert (result.status, result.errors) == (2, [said])


def test_fp16_is_refused_where_workers_are_to_take_processors(separate: Command, call: Path) -> None:
    result = separate(call, "--cluster", "local:1", "--dtype", "fp16")
    assert (result.status, result.errors) == (2, ["septool: --dtype fp16 takes a GPU; processors have bf16"])


@pytest.mark.slow
def test_a_worker_without_a_gpu_says_that_fp16_takes_one(
    septool: Command, tiny_checkpoint: Path, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    how = ("--cluster", "local:1", "--dtype", "fp16", "-q")
    result = septool("separate", call, "-m", tiny_checkpoint, "-o", tmp_path / "out", *how)
    assert result.status == 1
    assert result.errors[-1].endswith("call.wav: --dtype fp16 takes a GPU; processors have bf16")


@pytest.mark.slow
def test_a_cluster_writes_what_one_process_writes(
    separate: Command, septool: Command, tree: Path, call: Path, tmp_path: Path
) -> None:
    for number in range(4):
        shutil.copy(call, call.with_name(f"{number}.wav"))
    (call.parent / "bad.wav").write_text("no sound")
    alone = separate(call.parent, "-o", tmp_path / "alone", "--json", "-q", "-j", 1)
    spread_out = separate(call.parent, "-o", tmp_path / "spread", "--json", "-q", "--cluster", "local:2")
    assert (alone.status, spread_out.status) == (1, 1)
    assert alone.errors == spread_out.errors
    names = files_below(tmp_path / "alone")
    assert names == files_below(tmp_path / "spread")
    for name in names:
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "spread" / name).read_bytes()
    septool("prepare", "folder", tree, "-o", tmp_path, "--split", "dev=1", "--mixtures", 6)
    for where, how in (("one", ()), ("two", ("--cluster", "local:2"))):
        assert septool("mix", tmp_path / "dev-2mix.jsonl", "-o", tmp_path / where, *how).status == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.slow
def test_a_cluster_scores_what_one_process_scores(
    septool: Command, tree: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    septool("prepare", "folder", tree, "-o", tmp_path, "--split", "dev=1", "--mixtures", 6)
    rows = []
    for name, how in (("one", ("-j", 1)), ("two", ("--cluster", "local:2"))):
        out = tmp_path / f"{name}.jsonl"
        result = septool("eval", tmp_path / "dev-2mix.jsonl", "-m", tiny_checkpoint, "-d", "cpu", "-o", out, *how)
        assert result.status == 0, result.errors
        # Where memory lies decides in which order a processor adds, by 1e-12 dB.
        decoder = json.JSONDecoder(parse_float=lambda number: round(float(number), 9))
        rows.append([decoder.decode(line) for line in out.read_text().splitlines()])
    assert len(rows[0]) == 7
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_recordings_of_a_worker_that_is_killed_are_done_by_others(
    separate: Command, call: Path, tmp_path: Path
) -> None:
    """A fifth of 200 recordings are given to a worker that is killed while it works on them."""
    folder = call.parent / "many"
    folder.mkdir()
    for number in range(200):
        os.link(call, folder / f"{number:03}.wav")
    once = tmp_path / "killed"
    work = runner._run_job_on_worker

    def deadly(
        batch: BatchSettings,
        task: Callable[[Task], object],
        record: Record | None,
        find_written: FindWritten | None,
        item: tuple[Job, bool],
    ) -> object:
        if item[0].path.name == "040.wav" and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return work(batch, task, record, find_written, item)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_run_job_on_worker", deadly)
        result = separate(
            folder,
            "-q",
            "--cluster",
            "local:2",
            "--json",
            "--manifest",
            tmp_path / "results.jsonl",
            "-o",
            tmp_path / "out",
        )
    assert once.exists()
    assert result.status == 0
    assert [Path(json.loads(line)["input"]).name for line in result.lines] == [f"{n:03}.wav" for n in range(200)]
    assert files_below(tmp_path / "out") == sorted(f"{n:03}_s{voice}.wav" for n in range(200) for voice in (1, 2))
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 200
