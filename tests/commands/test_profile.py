"""``septool profile``: what it prints and how it ends."""

import inspect
import json
from pathlib import Path

import pytest

from septool.commands.profile import profile as command
from septool.profiling import isolation
from septool.profiling.measure import measure
from septool.profiling.records import Failure
from septool.tasks import profile as profiling
from tests.conftest import Command


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process: a fresh one takes seconds to start."""
    monkeypatch.setattr(isolation, "measure_isolated", measure)


def test_the_command_has_the_parameters_of_its_task() -> None:
    shown, work = inspect.signature(command).parameters, inspect.signature(profiling.profile).parameters
    printing = {"json", "quiet", "verbose", "debug"}
    assert {name: parameter.default for name, parameter in shown.items() if name not in printing} == {
        name: parameter.default for name, parameter in work.items() if name != "report"
    }


def test_tables_of_costs_growth_and_running_tokens_are_printed(
    septool: Command, tiny_checkpoint: Path, call: Path
) -> None:
    result = septool(
        "profile",
        "-m",
        tiny_checkpoint,
        "--lengths",
        "0.1,0.2s",
        "--budget",
        0,
        "--speech",
        call,
        "-d",
        "cpu",
        "--train",
    )
    assert result.status == 0
    text = result.out.decode()
    for column in ("model", "params M", "GMACs", "real time", "memory MB", "step ms"):
        assert column in text
    assert len([line for line in result.lines if line.startswith("tiny")]) == 2 + 1 + 2
    assert "power of the length" in text
    assert "on call.wav" in text


def test_a_published_table_is_printed_beside_the_measured_one(septool: Command, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'title = "T"\nprotocol = "P"\nlengths = [0.1]\nreference = "A"\n[[rows]]\nlabel = "A"\nmodel = "galr:d64-m16"\n'
        'config = {blocks = 1}\npublished = {parameters_m = 1}\n[[rows]]\nlabel = "B"\nmodel = "galr:d64-m16"\n'
        'published = {parameters_m = 1}\nwhy = {parameters_m = "as expected"}\n',
        encoding="utf-8",
    )
    result = septool("profile", "--paper", path, "--budget", 0, "-d", "cpu")
    assert result.status == 0
    (line,) = [line for line in result.lines if "as expected" in line]
    assert line.split()[0] == "B"
    assert "differs" in line


def test_json_is_one_object_a_line(septool: Command) -> None:
    result = septool("profile", "-m", "galr:d64-m16", "--lengths", "0.1", "--budget", 0, "-d", "cpu", "--json", "-q")
    machine, cost = (json.loads(line) for line in result.lines)
    assert (machine["kind"], machine["conditions"]["dtype"]) == ("machine", "fp32")
    assert (cost["kind"], cost["model"], cost["parameters"]) == ("cost", "galr:d64-m16", 1_454_744)
    assert (cost["latency"]["processes"], cost["latency"]["repeats"]) == (5, 5)
    assert result.errors == []


def test_what_failed_is_listed_last_and_ends_with_status_1(septool: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure("galr:d64-m16", 2.0, "no room")
    monkeypatch.setattr(isolation, "measure_isolated", lambda *arguments: [*measure(*arguments), failure])
    result = septool("profile", "-m", "galr:d64-m16", "--lengths", "0.1", "--budget", 0, "-d", "cpu")
    assert result.status == 1
    assert result.errors[-1] == "septool: galr:d64-m16 at 2 s: no room"
    assert any(line.startswith("galr:d64-m16") for line in result.lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lengths", "one"], "septool: lengths are 'one'; write them as 1-5s or 0.5,1,2,4,60s"),
        (["--paper", "galr-table"], "septool: unknown paper table 'galr-table'; did you mean 'galr-table"),
        (["-m", "galrr"], "septool: unknown model 'galrr'; did you mean 'galr'?"),
    ],
)
def test_wrong_usage_is_one_line(septool: Command, arguments: list[str], said: str) -> None:
    result = septool("profile", *arguments, "-d", "cpu")
    assert (result.status, result.out) == (2, b"")
    assert len(result.errors) == 1
    assert result.errors[0].startswith(said)
