"""Training: a stopped run goes on to the same numbers, and nothing on disk is ever half a file."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import audio, checkpoints
from septool.errors import CheckpointError, ConfigError, UsageError
from septool.models import MODELS
from septool.models.build import build_model
from septool.tasks import recipe as recipes
from septool.tasks.prepare import prepare
from septool.tasks.recipe import Schedule
from septool.tasks.train import Run, learning_rate, train
from tests.models.tiny import TINY

RATE = 8000


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of four voices: harmonics that glide, each with its own pitch."""
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    time = np.arange(RATE * 2) / RATE
    for speaker in range(4):
        for utterance in range(2):
            pitch = (90 + 45 * speaker) * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(1, 3) * time))
            phase = 2 * np.pi * np.cumsum(pitch) / RATE
            voice = sum(np.sin(k * phase) / k for k in range(1, 9)) * (np.sin(2 * np.pi * 3 * time) > -0.5)
            path = folder / "tree" / f"speaker{speaker}" / f"{utterance}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write(path, (0.05 * voice).astype(np.float32), RATE)
    prepare("folder", folder / "tree", out=folder / "data", split="train", jobs=1)
    prepare("folder", folder / "tree", out=folder / "data", split="dev", mixtures=2, jobs=1)
    return folder / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def recipe(speech: Path, **changes: Any) -> recipes.Recipe:
    values: dict[str, Any] = {
        "model": "galr",
        "config": TINY["galr"] | {"dropout": 0.1},
        "data": {"train": str(speech / "train-speech.jsonl"), "validation": str(speech / "dev-2mix.jsonl")},
        "mixing": {"seconds": 0.25},
        "loop": {"steps": 6, "epoch_steps": 4, "batch": 2, "ema": 0.9},
        "optimizer": {"lr": 1e-3},
    }
    for section, change in changes.items():
        values[section] = values.get(section, {}) | change if isinstance(change, dict) else change
    return recipes.build(recipes.Recipe, values)


def lines(out: Path, *, timeless: bool = True) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    clocks = ("samples_per_s", "hours") if timeless else ()
    return [{key: value for key, value in line.items() if key not in clocks} for line in read]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_a_resumed_run_goes_on_to_the_same_numbers(
    speech: Path, tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septool.tasks.train.LOG_EVERY", 2)
    whole = recipe(speech, optimizer={"name": optimizer})
    train(whole, tmp_path / "whole")

    class StopError(Exception):
        pass

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 3:  # in the middle of an epoch and of a log line
            raise StopError

    with pytest.raises(StopError):
        train(whole, tmp_path / "broken", save_minutes=0, report=stop)
    train(whole, tmp_path / "broken", resume=True)

    first, second = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "broken"))
    for part in ("model", "average"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), f"{part} {name}"
    assert first["progress"] == second["progress"]
    assert lines(tmp_path / "whole") == lines(tmp_path / "broken")


def test_another_seed_is_another_run(speech: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(recipe(speech, seed=seed), tmp_path / str(seed))
    assert lines(tmp_path / "0")[-1]["si_snri"] != lines(tmp_path / "1")[-1]["si_snri"]


def test_workers_change_nothing(speech: Path, tmp_path: Path) -> None:
    for jobs in (0, 2):
        train(recipe(speech), tmp_path / str(jobs), jobs=jobs)
    assert lines(tmp_path / "0") == lines(tmp_path / "2")


def test_the_checkpoint_says_how_it_was_made_and_can_be_used(speech: Path, tmp_path: Path) -> None:
    best = train(recipe(speech), tmp_path)
    model, header = checkpoints.load(tmp_path / "best.safetensors")
    assert (header.model, header.sample_rate, header.sources) == ("galr", RATE, 2)
    assert header.measured["validation_si_snri"] == pytest.approx(best, abs=1e-3)
    assert header.recipe["mixing"]["seconds"] == 0.25
    assert model(torch.zeros(1, 100)).shape == (1, 2, 100)


def test_a_folder_with_a_run_is_not_overwritten(speech: Path, tmp_path: Path) -> None:
    train(recipe(speech), tmp_path)
    with pytest.raises(UsageError, match="--resume"):
        train(recipe(speech), tmp_path)


def test_resuming_nothing_and_resuming_damage_are_worded(speech: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(recipe(speech), tmp_path, resume=True)
    (tmp_path / "last.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match="damaged"):
        train(recipe(speech), tmp_path, resume=True)


def test_a_full_disk_keeps_the_previous_state(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(recipe(speech), tmp_path, torch.device("cpu"))
    run.save(best=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(state: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(Exception, match="No space left"):
        run.save(best=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_step_that_is_not_finite_moves_nothing_and_is_counted(speech: Path, tmp_path: Path) -> None:
    run = Run(recipe(speech), tmp_path, torch.device("cpu"))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.step(torch.full((2, 2, 400), math.nan))
    assert run.progress.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_items_below_the_loss_floor_are_left_out(speech: Path, tmp_path: Path) -> None:
    run = Run(recipe(speech, loop={"loss_floor": 1000.0}), tmp_path, torch.device("cpu"))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.step(torch.randn(2, 2, 400))
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize(
    ("schedule", "step", "epoch", "expected"),
    [
        (Schedule(), 10, 0, 1.0),
        (Schedule(warmup=100), 49, 0, 0.5),
        (Schedule(name="exponential", factor=0.96, every=2), 0, 5, 0.96**2),
        (Schedule(name="exponential", factor=0.9, start=100), 0, 103, 0.9**3),
        (Schedule(name="cosine"), 500, 0, 0.5),
        (Schedule(name="trapezoid", decay=100), 900, 0, 1.0),
        (Schedule(name="trapezoid", decay=100), 950, 0, 0.5),
        (Schedule(name="plateau"), 0, 7, 0.25),
    ],
)
def test_schedules(schedule: Schedule, step: int, epoch: int, expected: float) -> None:
    factor = learning_rate(schedule, step=step, epoch=epoch, steps=1000, plateau_scale=0.25)
    assert factor == pytest.approx(expected)


def test_the_plateau_schedule_halves_after_patience(speech: Path, tmp_path: Path) -> None:
    run = Run(recipe(speech, schedule={"name": "plateau", "patience": 1}), tmp_path, torch.device("cpu"))
    run.progress.step = 4  # second epoch
    assert run.note_validation(5.0)
    assert not run.note_validation(4.0)
    assert run.progress.plateau_scale == 1.0
    assert not run.note_validation(4.0)
    assert run.progress.plateau_scale == 0.5


@pytest.mark.parametrize("name", sorted(path.stem for path in recipes.RECIPES.glob("*.toml")))
def test_every_bundled_recipe_builds_its_model(name: str) -> None:
    chosen = recipes.load(name)
    with torch.device("meta"):
        model = build_model(chosen.model, chosen.config, chosen.row)
    assert chosen.data.sample_rate in (8000, 16000)
    assert chosen.model in MODELS
    assert sum(parameter.numel() for parameter in model.parameters()) > 100_000


def test_settings_override_a_recipe() -> None:
    changed = recipes.load("galr-small", ["loop.batch=7", "optimizer.name=adam"])
    assert (changed.loop.batch, changed.optimizer.name) == (7, "adam")
    with pytest.raises(ConfigError, match=r"did you mean 'loop\.batch'"):
        recipes.load("galr-small", ["loop.bach=7"])


@pytest.mark.slow
def test_a_small_network_learns_two_voices(speech: Path, tmp_path: Path) -> None:
    settings = {"loop": {"steps": 150, "epoch_steps": 150, "batch": 4, "ema": 0.0}, "optimizer": {"lr": 5e-3}}
    assert train(recipe(speech, **settings), tmp_path) > 3.0
