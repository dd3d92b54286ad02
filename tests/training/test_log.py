"""The log of a run: whole lines, none from beyond the state that a run goes on from."""

import errno
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from septool import provenance
from septool.errors import SeptoolError, UsageError
from septool.metrics import METRICS
from septool.provenance import source_commit
from septool.tasks.train import train
from septool.training.log import Event, TrainingLog, describe_event, describe_step, summarize_steps
from tests.training.runs import recipe


def test_what_a_killed_run_wrote_beyond_its_state_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"event": "step", "step": 2}\n{"event": "step", "step": 3}\n{"ev')
    with TrainingLog(tmp_path, step=2) as log:
        log.write({"event": "step", "step": 3, "loss": 1.0})
    assert path.read_text().splitlines() == [
        '{"event": "step", "step": 1}',
        '{"event": "step", "step": 2}',
        '{"event": "step", "step": 3, "loss": 1.0}',
    ]


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, step=0) as log:
        log.write({"event": "step", "step": 1, "loss": float("nan"), "gradient": float("inf")})
    line = (tmp_path / "log.jsonl").read_text()
    assert line == '{"event": "step", "step": 1, "loss": null, "gradient": null}\n'


def test_a_line_that_finds_no_room_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with TrainingLog(tmp_path, step=0) as log:
        monkeypatch.setattr(log._file, "write", full)
        with pytest.raises(SeptoolError, match=r"log\.jsonl cannot be written: No space left on device"):
            log.write({"event": "step", "step": 1})


def test_a_line_is_the_mean_of_its_steps_and_the_largest_gradient() -> None:
    steps = [
        {"loss": 1.0, "gradient": 4.0, "pondering": 0.5},
        {"loss": math.nan, "gradient": math.inf, "pondering": 0.5},
        {"loss": 2.0, "gradient": 3.0, "pondering": 0.25},
    ]
    assert summarize_steps(steps) == {"loss": 1.5, "gradient": 4.0, "pondering": pytest.approx(1.25 / 3)}
    assert math.isnan(summarize_steps(steps[1:2])["loss"])


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            {"event": "validation", "step": 4, "si_snri": 7.256, "best": 8.0, "hours": 0.5, "skipped": 0},
            "step 4: si-snri 7.26 dB in validation (best 8.00), 0.50 h",
        ),
        (
            {"event": "validation", "step": 4, "si_snri": 7.256, "best": 8.0, "hours": 0.5, "skipped": 3},
            "step 4: si-snri 7.26 dB in validation (best 8.00), 0.50 h, 3 steps skipped",
        ),
        (
            {"event": "initial weights", "step": 0, "setting": "config.heads", "was": 2, "is": 4},
            "config.heads of the initial weights is 2, here it is 4",
        ),
        (
            {"event": "average", "step": 9, "of": [4, 6], "si_snri": 8.0},
            "average of steps 4, 6: si-snri 8.00 dB (average.safetensors)",
        ),
        ({"event": "early stop", "step": 9, "epochs": 3}, "step 9: stopped early, 3 epochs without improvement"),
    ],
    ids=lambda value: value["event"] if isinstance(value, dict) else "",
)
def test_events_are_told_in_words(event: Event, said: str, tmp_path: Path) -> None:
    assert describe_event(event, METRICS["si-snri"], tmp_path) == said


def test_a_step_tells_its_loss_and_speed_and_the_last_score() -> None:
    event = {"event": "step", "step": 1, "loss": -3.0, "samples_per_s": 12000.0}
    assert describe_step(event, 8000, "") == "loss -3.00, 1.5 s of audio/s"
    assert describe_step(event, 8000, "si-snri 7.26 dB") == "loss -3.00, si-snri 7.26 dB, 1.5 s of audio/s"


def test_a_missing_tensorboard_is_worded(manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"TensorBoard is not installed; get it with: pip install 'septool\["):
        train(recipe(manifests), tmp_path, tensorboard=True)


def test_tensorboard_gets_the_curves(manifests: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(recipe(manifests), tmp_path, tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("validation/si_snri")] == [4, 6]


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_commit_is_that_of_the_code_and_of_nothing_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*command: str) -> str:
        name = ("-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", "-C", tmp_path, *name, *command], capture_output=True, check=True, text=True
        ).stdout

    model, code = tmp_path / "package" / "models" / "model.py", tmp_path / "package" / "provenance.py"
    for path in (model, code):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(provenance, "__file__", str(code))
    assert source_commit.__wrapped__() == ""  # no repository
    git("init")
    git("add", str(model))
    git("commit", "-m", "one")
    assert source_commit.__wrapped__() == ""  # one of something else
    git("add", str(code))
    git("commit", "-m", "two")
    head = git("rev-parse", "HEAD")[:12]
    assert source_commit.__wrapped__() == head
    model.write_text("changed")
    assert source_commit.__wrapped__() == head + "+"
