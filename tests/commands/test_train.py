"""``septool train``: a run of two steps, its lines, and a folder that is taken."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from septool.tasks.prepare import prepare
from septool.training.recipe import Recipe
from septool.training.trainer import Trainer
from tests.conftest import Command
from tests.models.tiny import TINY


@pytest.fixture
def recipe(tree: Path, tmp_path: Path) -> Path:
    prepare("folder", tree, out=tmp_path / "data", split="train=1,dev=1", mixtures=1)
    settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in TINY["papez"].items())
    path = tmp_path / "tiny.toml"
    path.write_text(f"""
        model = "papez"
        [config]
        {settings}
        [data]
        train = "{tmp_path}/data/train-speech.jsonl"
        validation = "{tmp_path}/data/dev-2mix.jsonl"
        [mixing]
        seconds = 0.1
        [loop]
        steps = 2
        epoch_steps = 2
        batch = 1
    """)
    return path


def test_a_run(septool: Command, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = septool("train", recipe, "-o", out, "-d", "cpu")
    assert result.status == 0
    assert result.lines[0].startswith(f"{out}/best.safetensors  si-snri ")
    assert any("step 2: si-snri " in line for line in result.errors)
    again = septool("train", recipe, "-o", out, "-d", "cpu")
    assert again.status == 2
    assert again.errors == [f"septool: {out} holds a run already; resume it with --resume or choose another --out"]
    assert septool("train", recipe, "-o", out, "-d", "cpu", "--resume", "-q").status == 0
    for state in out.glob("*.pt"):
        state.unlink()
    assert septool("train", recipe, "-o", out, "-d", "cpu").status == 2, "its weights would be lost"


def test_one_command_line_starts_a_run_and_goes_on_with_it(septool: Command, recipe: Path, tmp_path: Path) -> None:
    first, second = (septool("train", recipe, "-o", tmp_path / "run", "-d", "cpu", "--resume") for _ in range(2))
    assert (first.status, second.status) == (0, 0)
    assert first.errors[0] == f"septool: {tmp_path / 'run'} holds no run to resume; a new one starts"
    assert "no run to resume" not in second.errors[0]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in log if line["event"] in ("start", "validation")] == [
        ("start", 0),
        ("validation", 2),
        ("start", 2),
    ]


def test_a_seed_is_a_setting_and_progress_tells_the_last_score(septool: Command, recipe: Path, tmp_path: Path) -> None:
    result = septool("train", recipe, "-o", tmp_path / "run", "-d", "cpu", "--seed", "7", "--set", "loop.epoch_steps=1")
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["seed"] == 7
    progress = [line for line in result.errors if "/2 loss" in line]
    assert re.fullmatch(r"septool: train 1/2 loss \S+, \S+ s of audio/s", progress[0])
    assert re.fullmatch(r"septool: train 2/2 loss \S+, si-snri \S+ dB, \S+ s of audio/s", progress[1])


def test_every_option_arrives_as_itself(
    septool: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: dict[str, Any] = {}

    def take(run: Recipe, folder: Path, **given: Any) -> float:
        arrived.update(given, run=run, folder=folder)
        return 1.0

    monkeypatch.setattr("septool.tasks.train.train", take)
    options = ("--jobs", 3, "--threads", 2, "--compile", "--tensorboard", "--save-minutes", 4.5, "--resume")
    settings = ("--set", "loop.steps=7", "--set", "loop.batch=2", "--seed", 5)
    assert septool("train", recipe, "-o", tmp_path / "run", "-d", "cpu", *options, *settings).status == 0
    run, device = arrived.pop("run"), arrived.pop("device")
    assert (run.loop.steps, run.loop.batch, run.seed, device.type) == (7, 2, 5, "cpu")
    assert callable(arrived.pop("report"))
    assert arrived == {
        "folder": tmp_path / "run",
        "resume": False,  # there is no run yet
        "jobs": 3,
        "threads": 2,
        "compile": True,
        "tensorboard": True,
        "save_minutes": 4.5,
    }
    assert septool("train", recipe, "-o", tmp_path / "run", "-d", "cpu", "--compile").status == 0
    assert (arrived["compile"], arrived["tensorboard"]) == (True, False)


def test_json_lines(septool: Command, recipe: Path, tmp_path: Path) -> None:
    result = septool("train", recipe, "-o", tmp_path / "run", "-d", "cpu", "--json")
    assert [json.loads(line)["event"] for line in result.lines] == ["start", "step", "step", "validation"]
    assert result.errors == []


def test_a_run_goes_on_by_its_own_recipe(septool: Command, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert septool("train", recipe, "-o", out, "-d", "cpu", "--set", "mixing.seconds=0.2").status == 0
    again = septool("train", recipe, "-o", out, "-d", "cpu", "--resume")
    assert again.status == 2
    assert again.errors == [
        f"septool: {out} has mixing.seconds 0.2, {recipe} 0.1; "
        f"--resume -o {out} resumes it as it is, and --set changes that"
    ]
    other = septool("train", "galr-small", "-o", out, "-d", "cpu", "--resume")
    assert (other.status, other.errors) == (2, [f"septool: {out} is a run of papez, not galr"])
    longer = septool("train", "--resume", "-o", out, "-d", "cpu", "--set", "loop.steps=3", "--set", "seed=7")
    assert longer.status == 0
    assert "septool: loop.steps was 2, is 3 from step 2 on" in longer.errors
    assert "septool: seed was 0, is 7 from step 2 on" in longer.errors
    kept = json.loads((out / "recipe.json").read_text())
    assert (kept["mixing"]["seconds"], kept["loop"]["steps"], kept["seed"]) == (0.2, 3, 7)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "data.sample_rate=4000",
            "data.sample_rate is 8000 in {run}, from its beginning; start another run to change it",
        ),
        ("initialize=nothing", "initialize is None in {run}, from its beginning; start another run to change it"),
        ("loop.steps=1", "{run} has taken 2 steps already; loop.steps is 1"),
    ],
)
def test_what_a_run_has_behind_it_stays(
    septool: Command, recipe: Path, tmp_path: Path, setting: str, said: str
) -> None:
    out = tmp_path / "run"
    assert septool("train", recipe, "-o", out, "-d", "cpu").status == 0
    again = septool("train", "--resume", "-o", out, "-d", "cpu", "--set", setting)
    assert (again.status, again.errors) == (2, [f"septool: {said.format(run=out)}"])


def test_what_is_hardly_meant_is_told(
    septool: Command, recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    speech = tmp_path / "data" / "dev-speech.jsonl"
    settings = ("--set", f"data.train={speech}", "--set", "schedule.warmup=5")
    result = septool("train", recipe, "-o", tmp_path / "run", "-d", "cpu", *settings)
    assert result.status == 0
    assert f"; its weights will call their data {str(speech)!r} (data.name)" in result.errors[0]
    assert f"dev-2mix.jsonl has speakers of {speech}, so that its score says little: " in caplog.text
    assert "loop.steps is 2, fewer than the 5 of schedule.warmup and schedule.decay" in caplog.text


def test_the_recipes_are_listed(septool: Command) -> None:
    result = septool("train", "--list")
    assert result.status == 0
    assert result.lines[0].split() == ["recipe", "model", "variant", "trained", "on", "published"]
    (row,) = [line.split() for line in result.lines if line.startswith("galr-wsj0-2mix ")]
    assert row == ["galr-wsj0-2mix", "galr", "d128-m4", "WSJ0-2mix", "si-snri", "20.3,", "sdri", "20.5"]
    rows = {row["name"]: row for row in map(json.loads, septool("train", "--list", "--json").lines)}
    assert len(rows) == len(result.lines) - 1
    assert rows["galr-wsj0-2mix"]["published"]["si_snri"] == 20.3


def test_without_a_recipe_there_is_nothing_to_train(septool: Command, tmp_path: Path) -> None:
    for arguments in ([], ["--resume"], ["-o", tmp_path]):
        result = septool("train", *arguments)
        assert result.status == 2
        assert result.errors == [
            "septool: train takes a recipe, or --resume and --out; septool train --list shows the recipes"
        ]


def test_an_interrupted_run_says_at_which_step(
    septool: Command, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def interrupted(run: Trainer, *pieces: Any) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        return step(run, *pieces)

    monkeypatch.setattr(Trainer, "step", interrupted)
    result = septool("train", recipe, "-o", tmp_path / "run", "-d", "cpu")
    assert result.status == 143
    assert result.errors[-2:] == [
        "septool: step 1: interrupted; the state is saved, and --resume continues from it",
        "septool: interrupted; what was finished is kept",
    ]


def test_a_recipe_that_is_no_toml(septool: Command, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff\xfe model")
    result = septool("train", path)
    assert result.status == 2
    assert result.errors[0].startswith(f"septool: {path} is not valid TOML: ")
    path.write_text("[loop]\nsteps = 1\n")
    assert septool("train", path).errors == ["septool: model is missing"]
    assert septool("train", tmp_path / "no.toml").errors == [
        f"septool: {tmp_path}/no.toml cannot be read: No such file or directory"
    ]
