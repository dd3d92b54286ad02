"""A run that is asked to end takes its step, leaves a state, and goes on from there to the same numbers."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from septool.errors import InterruptedBySignal
from septool.tasks.train import train
from septool.training.interrupt import Interrupt
from septool.training.trainer import Trainer
from tests.training.runs import lines, recipe, state
from tests.training.test_crash import assert_same_weights
from tests.training.test_distributed import in_two

BOTH = (signal.SIGINT, signal.SIGTERM)


def heard(number: int, _: object) -> None:
    raise InterruptedBySignal(signal.Signals(number).name)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.signal(number, heard) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def unbroken(manifests: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    train(recipe(manifests), out)
    return out


def at(event: str, step: int, *numbers: int) -> Callable[[dict[str, Any]], None]:
    """Send this process signals in the middle of a step or a validation."""

    def report(told: dict[str, Any]) -> None:
        if (told["event"], told["step"]) == (event, step):
            for number in numbers:
                signal.raise_signal(number)

    return report


@pytest.mark.parametrize(("event", "step"), [("step", 3), ("step", 4), ("validation", 4), ("step", 6)])
def test_a_run_that_is_interrupted_goes_on(
    unbroken: Path, manifests: Path, tmp_path: Path, event: str, step: int
) -> None:
    said: list[dict[str, Any]] = []
    send = at(event, step, signal.SIGINT)

    def report(told: dict[str, Any]) -> None:
        said.append(told)
        send(told)

    with pytest.raises(InterruptedBySignal, match="SIGINT"):
        train(recipe(manifests), tmp_path, report=report)
    assert said[-1] == {"event": "interrupted", "step": step}
    if event == "step":  # nor does a validation begin
        assert said[-2]["event"] == "step"
    assert state(tmp_path)["progress"]["step"] == step
    train(recipe(manifests), tmp_path, resume=True)
    assert lines(tmp_path) == lines(unbroken)
    assert state(tmp_path)["progress"] == state(unbroken)["progress"]
    for name in ("best", "last"):
        assert_same_weights(unbroken / f"{name}.safetensors", tmp_path / f"{name}.safetensors")


def test_a_second_sigint_ends_at_once(manifests: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedBySignal, match="SIGINT"):
        train(recipe(manifests), tmp_path, report=at("step", 3, signal.SIGINT, signal.SIGINT))
    assert not (tmp_path / "last.pt").exists()


def test_a_second_sigterm_is_the_first_one_again(manifests: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedBySignal, match="SIGTERM"):
        train(recipe(manifests), tmp_path, report=at("step", 3, signal.SIGTERM, signal.SIGTERM))
    assert state(tmp_path)["progress"]["step"] == 3


def test_handlers_are_put_back(manifests: Path, tmp_path: Path) -> None:
    train(recipe(manifests), tmp_path)
    assert [signal.getsignal(number) for number in BOTH] == [heard, heard]


def test_another_thread_can_train() -> None:
    entered: list[bool] = []

    def work() -> None:
        with Interrupt() as interrupt:
            entered.append(interrupt.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [False]


def status(work: Callable[[], object]) -> None:
    """End this process as the command line would."""
    try:
        work()
    except InterruptedBySignal as error:
        os._exit(error.status)


def test_a_signal_to_all_processes_leaves_the_workers_their_step(manifests: Path, tmp_path: Path) -> None:
    step = Trainer.step

    def long(run: Trainer, *pieces: Any) -> dict[str, float]:
        os.killpg(0, signal.SIGTERM)
        time.sleep(0.3)  # in which a worker that ended would be missed
        return step(run, *pieces)

    def child() -> None:
        os.setsid()
        Trainer.step = long  # type: ignore[method-assign]
        status(lambda: train(recipe(manifests), tmp_path, jobs=2))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 143
    assert state(tmp_path)["progress"]["step"] == 1


def test_a_signal_to_one_of_several_processes_ends_all(
    manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def second(run: Trainer, *pieces: Any) -> dict[str, float]:
        event = step(run, *pieces)
        if run.distributed.rank == 1 and run.state.progress.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return event

    monkeypatch.setattr(Trainer, "step", second)
    assert in_two(lambda: status(lambda: train(recipe(manifests), tmp_path))) == [143, 143]
    assert state(tmp_path)["progress"]["step"] == 2
