"""Rounds of fresh processes: who runs when, what is stated of several, what becomes of failures."""

import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from septool.profiling import isolation
from septool.profiling.isolation import combine, measure_in_rounds, measure_isolated
from septool.profiling.measure import Target, macs_by_shape
from septool.profiling.records import Failure, Peak, Row, Settings, Timing
from tests.models.tiny import TINY

LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
TARGETS = [Target(name=name, model="galr", config={}, rate=8000) for name in "ab"]
Answer = Callable[[Target, tuple[float, ...], Settings], Iterable[Row | Failure]]


def row(model: str, seconds: float, latency: Timing, memory: int | None = 100, **others: Any) -> Row:
    cost = {"parameters": 1, "bytes": 1, "macs": 1, "flops": 2, "real_time_factor": 0.0}
    return Row(model=model, seconds=seconds, latency=latency, memory=memory, **cost, **others)


def once(seconds: float) -> Timing:
    return Timing(seconds, seconds, seconds, 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Answer], list[tuple[str, tuple[float, ...], Settings]]]:
    """What a process answers, one after the other, and what was asked of it."""
    answers: list[Answer] = []
    calls: list[tuple[str, tuple[float, ...], Settings]] = []

    def measure(target: Target, lengths: tuple[float, ...], settings: Settings) -> Iterable[Row | Failure]:
        calls.append((target.name, lengths, settings))
        return answers.pop(0)(target, lengths, settings)

    monkeypatch.setattr(isolation, "measure_isolated", measure)
    return answers, calls


def taking(seconds: float, **others: Any) -> Answer:
    return lambda target, lengths, _: [row(target.name, at, once(seconds * at), **others) for at in lengths]


def test_subjects_take_turns_and_medians_are_of_processes(asked: Any) -> None:
    answers, calls = asked
    answers += [taking(time) for time in (0.1, 1.0, 0.3, 1.2, 0.2, 1.1)]
    seen: list[tuple[int, int, str]] = []
    settings = Settings(rounds=3, batch=2)
    found, failures = measure_in_rounds(TARGETS, [1.0, 2.0], settings, lambda *told: seen.append(told))
    assert [name for name, _, _ in calls] == ["a", "b", "a", "b", "a", "b"]
    assert failures == []
    assert [(one.model, one.seconds) for one in found] == [("a", 1.0), ("a", 2.0), ("b", 1.0), ("b", 2.0)]
    assert found[0].latency == Timing(0.2, 0.1, 0.3, repeats=6, processes=3)
    assert found[1].real_time_factor == pytest.approx(0.4 / (2.0 * 2))
    assert seen == [*((turn, 6, "ab"[turn % 2]) for turn in range(6)), (6, 6, "")]


def test_memory_and_training_are_joined_as_well(asked: Any) -> None:
    answers, _ = asked
    answers += [taking(1.0, memory=size, training=once(size), training_memory=2 * size) for size in (30, 10, 20)]
    ((one,), _) = measure_in_rounds(TARGETS[:1], [1.0], Settings(rounds=3))
    assert (one.memory, one.training_memory) == (20, 40)
    assert one.training == Timing(20, 10, 30, repeats=6, processes=3)


def test_what_failed_is_not_tried_again_and_said_once(asked: Any) -> None:
    answers, calls = asked
    short = row("a", 1.0, once(0.1))
    answers += [
        lambda *_: [short, Failure("a", 2.0, "no room")],
        lambda *_: [Failure("b", None, "killed")],
        lambda *_: [short],
    ]
    found, failures = measure_in_rounds(TARGETS, [1.0, 2.0], Settings(rounds=2))
    assert [(name, lengths) for name, lengths, _ in calls] == [("a", (1.0, 2.0)), ("b", (1.0, 2.0)), ("a", (1.0,))]
    assert failures == [Failure("a", 2.0, "no room"), Failure("b", None, "killed")]
    assert [(one.model, one.latency.processes) for one in found] == [("a", 2)]


def test_a_training_step_that_fails_is_not_tried_again_and_leaves_the_forward_passes(asked: Any) -> None:
    answers, calls = asked
    plain = row("a", 1.0, once(0.1))
    answers += [lambda *_: [plain, Failure("a", 1.0, "no room to train")], lambda *_: [plain]]
    found, failures = measure_in_rounds(TARGETS[:1], [1.0], Settings(rounds=2, train=True))
    assert [settings.train for _, _, settings in calls] == [True, False]
    assert found[0].latency.processes == 2
    assert found[0].training is None
    assert failures == [Failure("a", 1.0, "no room to train")]


def test_a_process_that_is_killed_leaves_what_it_had_measured(asked: Any) -> None:
    answers, calls = asked
    killed = Failure("a", None, "killed")
    answers += [lambda *_: [row("a", 1.0, once(0.1)), killed], taking(0.3)]
    found, failures = measure_in_rounds(TARGETS[:1], [1.0, 60.0], Settings(rounds=2))
    assert [lengths for _, lengths, _ in calls] == [(1.0, 60.0), (1.0,)]
    assert [(one.seconds, one.latency.median) for one in found] == [(1.0, 0.2)]
    assert failures == [killed]


def test_a_row_comes_again_with_its_training_step(asked: Any) -> None:
    answers, _ = asked
    plain = row("a", 1.0, once(0.1))
    answers += [lambda *_: [plain, replace(plain, training=once(3.0))]]
    found, _ = measure_in_rounds(TARGETS[:1], [1.0], Settings(train=True))
    assert [one.training for one in found] == [once(3.0)]


def test_traces_and_marks_are_made_in_the_first_round(asked: Any) -> None:
    answers, calls = asked
    answers += [taking(1.0)] * 2
    measure_in_rounds(TARGETS[:1], [1.0], Settings(rounds=2, trace=Path("t.json"), nvtx=True))
    assert [(settings.trace, settings.nvtx) for _, _, settings in calls] == [(Path("t.json"), True), (None, False)]


def test_the_repeats_of_one_process_are_what_is_stated_of_one() -> None:
    alone = Timing(1.0, 0.9, 1.1, 7)
    assert combine([alone]) is alone
    five = combine([Timing(float(time), 0.0, 9.0, 1) for time in (3, 1, 5, 2, 4)])
    assert five == Timing(3.0, 1.0, 5.0, repeats=5, processes=5)


@pytest.mark.parametrize(("count", "min_repeats"), [(1, 3), (2, 2), (3, 1), (5, 1)])
def test_rounds_share_the_repeats(count: int, min_repeats: int) -> None:
    assert Settings(rounds=count).min_repeats == min_repeats


@pytest.mark.parametrize(("status", "hint"), [(-9, "; the system kills what needs too much memory"), (1, ""), (0, "")])
@pytest.mark.parametrize("windows", [False, True])
def test_how_a_process_ended_is_told(monkeypatch: pytest.MonkeyPatch, status: int, hint: str, *, windows: bool) -> None:
    pipe = Mock(**{"recv.side_effect": EOFError})
    process = Mock(exitcode=status)
    context = Mock(**{"Pipe.return_value": (pipe, pipe), "Process.return_value": process})
    monkeypatch.setattr(isolation, "get_context", lambda _: context)
    if windows:
        monkeypatch.delattr(signal, "SIGKILL")
    (failed,) = measure_isolated(TARGETS[0], [1.0], Settings())
    assert failed == Failure("a", None, f"its process ended with status {status}{'' if windows else hint}")


@LINUX
def test_a_fresh_process_shows_what_a_subject_needs_its_weights_included() -> None:
    target = Target(name="x", model="galr", config=TINY["galr"] | {"hidden": 900}, rate=8000)
    row, peak = measure_isolated(target, [0.1], Settings(budget=0.0, threads=1))
    assert isinstance(peak, Peak)
    assert peak.gflops > 0
    assert isinstance(row, Row), row
    assert row.macs == macs_by_shape(target, 800)
    assert row.memory is not None
    assert 3 * row.bytes > row.memory > row.bytes > 50e6


class Fatal:
    """Ends the process that receives it."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (3,)


def test_a_process_that_ends_is_a_failure() -> None:
    fatal = Target(name="x", model="galr", config={"x": Fatal()}, rate=8000)
    failed = Failure("x", None, "its process ended with status 3")
    assert list(measure_isolated(fatal, [0.1], Settings(budget=0.0))) == [failed]
