"""A run that is killed at any moment goes on to the numbers of one that was not."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from septool.tasks.train import train
from septool.training import trainer
from septool.training.log import TrainingLog
from septool.training.trainer import Trainer
from tests.training.runs import lines, recipe, state

LOOP = {"steps": 3, "epoch_steps": 2, "average": 2}


def killed_at(moment: int, manifests: Path, out: Path, *, resume: bool = False) -> int | None:
    """Train in another process that kills itself at a moment; return its exit code.

    Moments are what changes files or the state: a line of the log, a file that takes its place, a state that is
    written, a step.
    """

    def child() -> None:
        passed = 0

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                nonlocal passed
                passed += 1
                if passed == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **options)

            return call

        trainer.LOG_EVERY = 2
        os.fsync = lambda _: None  # the system itself goes on
        TrainingLog.write = counted(TrainingLog.write)  # type: ignore[method-assign]
        Trainer.step = counted(Trainer.step)  # type: ignore[method-assign]
        os.replace = counted(os.replace)
        torch.save = counted(torch.save)
        train(recipe(manifests, loop=LOOP), out, resume=resume, save_minutes=0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    return process.exitcode


@pytest.fixture(scope="module")
def unbroken(manifests: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch._dynamo  # noqa: F401 - optimizers do, for seconds: here once, not in every process that is forked

    out = tmp_path_factory.mktemp("unbroken")
    assert killed_at(-1, manifests, out) == 0
    return out


def assert_goes_on(unbroken: Path, manifests: Path, out: Path, moment: int) -> bool:
    """Kill a run and its second try, go on, compare; false if the run was over before the moment."""
    code = killed_at(moment, manifests, out)
    if code == 0:
        return False
    assert code == -signal.SIGKILL
    there = any((out / name).exists() for name in ("last.pt", "previous.pt"))
    if there:  # killed a second time, a little later
        assert killed_at(9, manifests, out, resume=True) in (0, -signal.SIGKILL)
    assert killed_at(-1, manifests, out, resume=there) == 0
    ours, theirs = state(unbroken), state(out)
    for part in ("model", "average"):
        assert all(torch.equal(value, theirs[part][name]) for name, value in ours[part].items()), part
    assert ours["progress"] == theirs["progress"]
    assert lines(unbroken) == lines(out)
    for name in ("best", "last", "average"):
        assert_same_weights(unbroken / f"{name}.safetensors", out / f"{name}.safetensors")
    names = [{path.name for path in folder.glob("*.safetensors")} for folder in (unbroken, out)]
    assert names[0] == names[1]
    return True


def assert_same_weights(first: Path, second: Path) -> None:
    from safetensors.torch import load_file

    ours, theirs = load_file(first), load_file(second)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("moment", [6, 14])
def test_a_killed_run_goes_on(unbroken: Path, manifests: Path, tmp_path: Path, moment: int) -> None:
    assert assert_goes_on(unbroken, manifests, tmp_path, moment)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on(unbroken: Path, manifests: Path, tmp_path: Path) -> None:
    moment = 1
    while assert_goes_on(unbroken, manifests, tmp_path / str(moment), moment):
        moment += 1
    assert moment > 20
