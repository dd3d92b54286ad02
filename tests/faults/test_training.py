"""Training under attack and after accidents: one line, the right status, and nothing lost."""

import json
import multiprocessing
import shutil
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from septool.errors import UsageError
from septool.tasks.prepare import prepare
from septool.tasks.train import train
from septool.training import lock
from septool.training.lock import lock_run
from septool.training.recipe_files import load_recipe
from tests.conftest import Command
from tests.models.tiny import TINY

CONFIG = "\n".join(f"{key} = {value!r}" for key, value in TINY["conv-tasnet"].items())


@pytest.fixture
def tiny(tree: Path, tmp_path: Path) -> Path:
    """A recipe of four short steps on real files."""
    prepare("folder", tree, out=tmp_path / "data", split="train=1,dev=1", mixtures=1)
    path = tmp_path / "tiny.toml"
    path.write_text(f"""
        model = "conv-tasnet"
        [config]
        {CONFIG}
        [data]
        train = "{tmp_path}/data/train-speech.jsonl"
        validation = "{tmp_path}/data/dev-2mix.jsonl"
        [mixing]
        seconds = 0.1
        [loop]
        steps = 4
        epoch_steps = 2
        batch = 1
    """)
    return path


@pytest.fixture
def endless(tiny: Path, tmp_path: Path) -> Iterator[BaseProcess]:
    """A process that trains in ``tmp_path / "run"`` until it is ended, in its first epochs."""
    recipe = load_recipe(str(tiny), ["loop.steps=1000000"])
    process = multiprocessing.get_context("fork").Process(target=train, args=(recipe, tmp_path / "run"))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "last.pt").exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process
    process.kill()
    process.join()


def test_a_second_run_in_a_folder_is_refused_until_the_first_is_gone(
    septool: Command, tiny: Path, tmp_path: Path, endless: BaseProcess
) -> None:
    run = tmp_path / "run"
    for more in ([], ["--resume"]):
        second = septool("train", tiny, "-o", run, "-d", "cpu", "--set", "loop.steps=1000000", *more)
        assert second.status == 2
        assert len(second.errors) == 1
        assert f"{run} is the folder of a run that is training now (process {endless.pid} on " in second.errors[0]
    endless.kill()
    endless.join()
    step = torch.load(run / "last.pt", weights_only=True)["progress"]["step"]
    resumed = septool("train", "--resume", "-o", run, "-d", "cpu", "--set", f"loop.steps={step + 1}")
    assert resumed.status == 0
    assert not (run / lock.LOCK).exists()


def test_a_worker_does_not_inherit_the_lock(tmp_path: Path) -> None:
    with lock_run(tmp_path):
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        with (
            pytest.raises(UsageError, match=r"training now .* wait for its end, or choose another folder"),
            lock_run(tmp_path),
        ):
            pass
    try:
        with lock_run(tmp_path):
            pass
    finally:
        worker.kill()
        worker.join()


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with lock_run(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with lock_run(tmp_path / "old"):
        pass
    assert list((tmp_path / "old").iterdir()) == []


@pytest.mark.parametrize("content", [{"weights": {}}, [1], {"model": {}, "recipe": "[" * 100_000}])
def test_a_state_of_other_things_gives_way_to_the_one_before(
    septool: Command, tiny: Path, tmp_path: Path, content: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    assert septool("train", tiny, "-o", run, "-d", "cpu").status == 0
    torch.save(content, run / "last.pt")
    resumed = septool("train", "--resume", "-o", run, "-d", "cpu")
    assert resumed.status == 0
    assert f"{run}/last.pt is damaged or missing; the run is resumed from {run}/previous.pt" in caplog.text
    for name in ("last.pt", "previous.pt"):
        torch.save(content, run / name)
    refused = septool("train", "--resume", "-o", run, "-d", "cpu")
    assert refused.status == 1
    assert len(refused.errors) == 1
    assert refused.errors[0].startswith(f"septool: {run}/last.pt is damaged: ")


def test_a_state_that_is_cut_off_is_told_in_our_words(septool: Command, tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert septool("train", tiny, "-o", run, "-d", "cpu").status == 0
    (run / "last.pt").write_bytes((run / "last.pt").read_bytes()[:1000])
    (run / "previous.pt").unlink(missing_ok=True)
    refused = septool("train", "--resume", "-o", run, "-d", "cpu")
    assert refused.errors == [f"septool: {run}/last.pt is damaged: it is cut off, or not the state of a run"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("config.filters=1000000000", "config.filters is 1000000000; numbers of a network go up to 65536"),
        ("config.filters=60000 config.bottleneck=60000", "a network of more than 1000000000 weights"),
        ("config.blocks=60000", "a network of more than 1000000000 weights, or of more than 20000 matrices"),
        ("config.dropout=nan", "config.dropout is nan; a dropout rate lies between 0 and 1"),
        ("config.anything=inf", "config.anything is inf; numbers of a network go up to 65536"),
        ("config.anything=[[1,70000]]", "config.anything is 70000; numbers of a network go up to 65536"),
        ("loop.steps=99999999999999999999", "steps is 99999999999999999999; it lies between 1 and 1000000000"),
        ("loop.batch=99999999999999999999", "batch is 99999999999999999999; it lies between 1 and 1000000"),
        ("loop.loss_floor=nan", "loss_floor is nan; it is a number of dB"),
        ("optimizer.lr=1e300", "lr is 1e+300; it lies between 0 and 100"),
        ("optimizer.clip=inf", "clip is inf; it lies between 0 and 1000000"),
        ("schedule.factor=1e300", "factor is 1e+300; it lies between 0 and 100"),
        ("seed=18446744073709551616", "seed is 18446744073709551616; it lies between 0 and 18446744073709551615"),
        (
            "data.sample_rate=9223372036854775808",
            "sample_rate is 9223372036854775808; it lies between 1000 and 1000000",
        ),
        ("mixing.seconds=1e300", "mixing.seconds is 1e+300; it is at most 3600"),
        ("mixing.sources=1000000", "mixing.sources is 1000000; it is at most 64"),
        ("mixing.speed=[1.0,1e9]", "mixing.speed goes beyond 200"),
    ],
)
def test_a_setting_out_of_range_is_a_usage_error(
    septool: Command, tiny: Path, tmp_path: Path, setting: str, said: str
) -> None:
    settings = [part for each in setting.split() for part in ("--set", each)]
    result = septool("train", tiny, "-o", tmp_path / "run", "-d", "cpu", *settings)
    assert result.status == 2
    assert len(result.errors) == 1
    assert said in result.errors[0]
    assert not (tmp_path / "run").exists()


def damage(path: Path, how: str) -> None:
    """Leave of a recording what a full disk, a bad cable or a wrong command left of it."""
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "header": b"not audio" * 100, "empty": b""}[how])


@pytest.fixture
def own_tree(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tree that may be changed, and a cache of its own."""
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(tree, tmp_path / "tree"))


@pytest.mark.parametrize("how", ["cut", "header", "empty"])
def test_a_damaged_recording_is_left_out_and_named_every_time(
    septool: Command, own_tree: Path, tiny: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepare("folder", own_tree, out=tmp_path / "own", split="train")
    broken = own_tree / "speaker1" / "chapter" / "0.wav"
    damage(broken, how)
    settings = ["--set", f"data.train={tmp_path}/own/train-speech.jsonl", "-d", "cpu"]
    for name in ("first", "cached"):
        caplog.clear()
        assert septool("train", tiny, "-o", tmp_path / name, *settings).status == 0
        assert "1 of the 8 utterances of " in caplog.text
        assert "tree/speaker1/chapter/0.wav" in caplog.text
    none = septool("train", tiny, "-o", tmp_path / "none", *settings, "--set", "data.damaged_share=0")
    assert none.status == 1
    assert "tree/speaker1/chapter/0.wav" in none.errors[-1]
    damage(own_tree / "speaker2" / "chapter" / "1.wav", how)
    more = septool("train", tiny, "-o", tmp_path / "more", *settings)
    assert more.status == 1
    assert (
        "train-speech.jsonl: more than 1 of 8 are damaged, the share that data.damaged_share (0.01)" in more.errors[-1]
    )
    two = septool("train", tiny, "-o", tmp_path / "two", *settings, "--set", "data.damaged_share=0.25")
    assert two.status == 0


@pytest.mark.parametrize(("seconds", "jobs"), [(0.1, 0), (0.1, 2), (0.0, 0)])
def test_a_damaged_mixture_is_replaced_counted_and_named(
    septool: Command,
    own_tree: Path,
    tiny: Path,
    tmp_path: Path,
    seconds: float,
    jobs: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prepare("folder", own_tree, out=tmp_path / "own", split="fixed", mixtures=6)
    rows = [json.loads(line) for line in (tmp_path / "own" / "fixed-2mix.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):  # every mixture has recordings of its own
        for place, source in enumerate(row["sources"]):
            copy = own_tree / f"{number}-{place}.wav"
            shutil.copy(tmp_path / "own" / source["path"], copy)
            source |= {"path": str(copy), "frames": -1, "start": 0}
        row["frames"] = None
    (tmp_path / "own" / "fixed-2mix.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    damage(own_tree / "2-0.wav", "header")
    settings = ["--set", f"data.train={tmp_path}/own/fixed-2mix.jsonl", "--set", "data.mixing=static", "-d", "cpu"]
    settings += ["--set", f"mixing.seconds={seconds}", "-j", str(jobs), "--set", "loop.steps=6"]
    settings += ["--set", "loop.epoch_steps=6"]
    assert septool("train", tiny, "-o", tmp_path / "one", *settings).status == 0
    assert caplog.text.count("is damaged and left out (1 of 6 so far): ") == 1
    assert str(own_tree / "2-0.wav") in caplog.text
    none = septool("train", tiny, "-o", tmp_path / "none", *settings, "--set", "data.damaged_share=0")
    assert none.status == 1
    assert str(own_tree / "2-0.wav") in none.errors[-1]
    damage(own_tree / "4-1.wav", "header")
    more = septool("train", tiny, "-o", tmp_path / "more", *settings)
    assert more.status == 1
    assert "fixed-2mix.jsonl: more than 1 of 6 are damaged" in more.errors[-1]


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_the_outermost_seeds_train(septool: Command, tiny: Path, tmp_path: Path, seed: int) -> None:
    assert septool("train", tiny, "-o", tmp_path / "run", "-d", "cpu", "--seed", str(seed)).status == 0
