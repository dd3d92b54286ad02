"""Several processes train as one does; when one dies, the run ends with one line and can go on."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from septool.data import manifest
from septool.errors import UsageError
from septool.tasks.train import check_run, train
from septool.training.distributed import Distributed, init_distributed, is_peer_lost
from septool.training.recipe import Recipe
from septool.training.trainer import Trainer
from septool.workers import is_main_process
from tests.conftest import ROOT
from tests.models.tiny import TINY_EXTRACTORS
from tests.training.runs import largest_difference, lines, recent_losses, recipe, state

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LOOP = {"batch": 4, "loss_floor": 27.0}


def write(path: Path, chosen: Recipe) -> Path:
    """Write a recipe as TOML."""
    text = []

    def section(values: dict[str, Any], name: str) -> None:
        text.extend([f"[{name}]"] if name else [])
        for key, value in values.items():
            if value is not None and not isinstance(value, dict):
                text.append(f"{key} = {json.dumps(value)}")
        for key, value in values.items():
            if isinstance(value, dict):
                section(value, f"{name}.{key}".lstrip("."))

    section(asdict(chosen), "")
    path.write_text("\n".join(text))
    return path


@pytest.fixture
def torchrun(manifests: Path, tmp_path: Path) -> Any:
    """Start two processes that train; they are ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *TORCHRUN, "-m", "septool", "train", *map(str, arguments), "-d", "cpu"]
        process = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


Torchrun = Callable[..., subprocess.Popen[str]]


@pytest.mark.slow
def test_two_processes_are_one_with_the_same_batch(manifests: Path, tmp_path: Path, torchrun: Torchrun) -> None:
    chosen = recipe(manifests, model="dprnn", loop=LOOP, optimizer={"lr": 1e-4})
    path = write(tmp_path / "recipe.toml", chosen)
    train(chosen, tmp_path / "one")
    process = torchrun(path, "-o", tmp_path / "two")
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert len(out.splitlines()) == 1  # only one of them prints
    assert sum("in validation" in line for line in errors.splitlines()) == 2
    losses = [recent_losses(tmp_path / name) for name in ("one", "two")]
    assert min(losses[0]) < 27 < max(losses[0])  # some items are left out, so that the processes weigh differently
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert largest_difference(tmp_path / "one", tmp_path / "two") < 1e-5
    scores = [[line["si_snri"] for line in lines(tmp_path / name, "validation")] for name in ("one", "two")]
    assert len(scores[0]) == 2
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)

    # And one process goes on with what two have begun.
    longer = replace(chosen, loop=replace(chosen.loop, steps=9))
    for name in ("one", "two"):
        train(longer, tmp_path / name, resume=True)
    assert largest_difference(tmp_path / "one", tmp_path / "two") < 1e-5


def in_two(work: Callable[[], object]) -> list[int | None]:
    """Do something in two processes as torchrun would start them; return their exit codes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]

    def child(rank: int) -> None:
        names = {"WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
        work()

    started = [multiprocessing.get_context("fork").Process(target=child, args=(rank,)) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        process.kill()
    return [process.exitcode for process in started]


def test_processes_may_validate_on_mixtures_of_other_lengths(manifests: Path, tmp_path: Path) -> None:
    short, long = manifest.read_manifest(manifests / "dev-2mix.jsonl")
    path = manifests / "dev-short-and-long.jsonl"
    path.write_text(manifest.dump_manifest([replace(short, frames=400), long]))
    # The tables of positions grow with what a process has seen; the second epoch finds them of other sizes.
    chosen = recipe(
        manifests, data={"validation": str(path)}, config={"dropout": 0.0}, loop={"steps": 4, "epoch_steps": 2}
    )
    train(chosen, tmp_path / "one")
    assert in_two(lambda: train(chosen, tmp_path / "two")) == [0, 0]
    scores = [[line["si_snri"] for line in lines(tmp_path / name, "validation")] for name in ("one", "two")]
    assert len(scores[0]) == 2
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)


def test_every_process_scores_the_weights_of_the_first(manifests: Path, tmp_path: Path) -> None:
    chosen = Recipe(model="voicefilter", config=TINY_EXTRACTORS["voicefilter"])

    def work() -> None:
        with init_distributed(torch.device("cpu")) as group:
            run = Trainer(chosen, tmp_path, group)
            torch.manual_seed(group.rank)  # so that the statistics of batch normalisation go apart
            run.model.train()(torch.randn(2, 400), torch.randn(2, 400))
            statistics = [value for name, value in run.model.state_dict().items() if "running" in name]
            own = float(sum(value.sum() for value in statistics))

            def score(items: list[Any]) -> float:
                return float(sum(value.sum() for value in statistics)) + group.rank

            run.role.score = score  # type: ignore[method-assign]
            (tmp_path / str(group.rank)).write_text(json.dumps([own, run.validate([])]))

    assert in_two(work) == [0, 0]
    (first, heard), (second, also) = (json.loads((tmp_path / str(rank)).read_text()) for rank in range(2))
    assert first != second
    assert heard == also == pytest.approx(first)


def processes(parent: int) -> dict[str, int]:
    """Return the processes that torchrun has started, by rank."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                entries = (entry.partition("=") for entry in (folder / "environ").read_text().split("\0"))
                settings = {key: value for key, _, value in entries}
                if "RANK" in settings:
                    found[settings["RANK"]] = int(folder.name)
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_that_dies_ends_the_run_with_one_line(
    manifests: Path, tmp_path: Path, torchrun: Torchrun, rank: str
) -> None:
    endless = recipe(manifests, model="dprnn", loop={"steps": 100_000, "epoch_steps": 5, "batch": 4})
    path, out = write(tmp_path / "recipe.toml", endless), tmp_path / "run"
    process = torchrun(path, "-o", out, "-q")
    deadline = time.monotonic() + 120
    while not (out / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(processes(process.pid)[rank], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    ours = [line for line in errors.splitlines() if line.startswith("septool: ")]
    assert ours == [
        "septool: one of the 2 processes of this run has ended, and the run with it; "
        "resume it, with as many processes as you like"
    ]
    step = state(out)["progress"]["step"]
    train(replace(endless, loop=replace(endless.loop, steps=step + 1)), out, resume=True)
    assert state(out)["progress"]["step"] == step + 1


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1342", True),
        ("writev [127.0.0.1]:27843: Connection reset by peer", True),
        ("NCCL error in: NCCLUtils.hpp:94, remote process exited or there was a network error. ncclRemoteError", True),
        ("NCCL error: ncclSystemError: Bootstrap : no socket interface found", False),
        ("gloo: unable to find address for: eth7", False),
    ],
)
def test_only_a_lost_process_is_called_lost(said: str, lost: bool) -> None:
    assert is_peer_lost(RuntimeError(said)) == lost


def test_a_batch_is_shared_by_whole_items(manifests: Path) -> None:
    chosen = recipe(manifests, loop={"batch": 6, "accumulation_steps": 2})
    check_run(chosen, Distributed(torch.device("cpu"), 0, 3))
    with pytest.raises(
        UsageError, match=r"loop\.batch is 6; 4 process\(es\) with 2 micro-batch\(es\) each share multiples"
    ):
        check_run(chosen, Distributed(torch.device("cpu"), 0, 4))


def test_everything_validated_is_somebodys(manifests: Path) -> None:
    shares = [Distributed(torch.device("cpu"), rank, 3).shard(range(10)) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(10))


def test_what_shares_became_is_put_together_in_their_order(tmp_path: Path) -> None:
    def work() -> None:
        with init_distributed(torch.device("cpu")) as group:
            gathered = [group.gather([10 * item for item in group.shard(range(count))]) for count in (5, 4, 1, 0)]
            (tmp_path / str(group.rank)).write_text(json.dumps(gathered))

    assert in_two(work) == [0, 0]
    expected = [[0, 10, 20, 30, 40], [0, 10, 20, 30], [0], []]
    assert [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)] == [expected, expected]


def test_a_process_alone_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_main_process()
    with init_distributed(torch.device("cpu")) as group:
        assert (group.rank, group.world_size, group.is_main) == (0, 1, True)
        assert group.all_reduce_sum(1.5, 2.0) == [1.5, 2.0]
    monkeypatch.setenv("RANK", "1")
    assert not is_main_process()


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there are CUDA devices")
def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UsageError, match=r"more processes than this machine has CUDA devices \(0\)"),
        init_distributed(torch.device("cuda")),
    ):
        pass
