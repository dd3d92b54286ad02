"""What the command line says arrives at the task, every option as itself."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from septool.commands import downloading, help
from tests.commands.test_cli import CALLBACKS, PRINTING, found
from tests.conftest import Command

VERBS = {
    "activity": "septool.tasks.activity.find_activity",
    "enroll": "septool.tasks.enroll.enroll",
    "eval": "septool.tasks.evaluate.evaluate",
    "extract": "septool.tasks.extract.extract",
    "models convert": "septool.tasks.convert.convert",
    "models export": "septool.tasks.export.export",
    "models push": "septool.tasks.push.push",
    "prepare folder": "septool.tasks.prepare.prepare",
    "profile": "septool.tasks.profile.profile",
    "separate": "septool.tasks.separate.separate",
}
OF_COMMANDS = PRINTING | {"strict", "compare"}  # options that no task has
TAKEN = 77  # status of a command whose task has noted what it was given
Arrive = Callable[..., dict[str, Any]]


@pytest.fixture
def arrive(septool: Command, monkeypatch: pytest.MonkeyPatch) -> Arrive:
    """Run a verb whose task notes its arguments, and return those as words."""
    monkeypatch.setattr(downloading, "obtain_weights", lambda *_, **__: None)

    def run(verb: str, arguments: list[str]) -> dict[str, Any]:
        arrived: dict[str, Any] = {}
        module, _, name = VERBS[verb].rpartition(".")
        signature = inspect.signature(getattr(importlib.import_module(module), name))

        def take(*positional: Any, **named: Any) -> None:
            bound = signature.bind(*positional, **named)
            bound.apply_defaults()
            arrived.update(bound.arguments | bound.arguments.get("options", {}))
            raise SystemExit(TAKEN)

        with monkeypatch.context() as patch:
            patch.setattr(VERBS[verb], take)
            result = septool(*verb.split(), *arguments)
        assert result.status == TAKEN, result.errors
        return {key: words(value) for key, value in arrived.items()}

    return run


def words(value: Any) -> Any:
    return [str(each) for each in value] if isinstance(value, list | tuple) else str(value)


def value_for(command: Any, param: Any, number: int) -> Any:
    """Return a value that is not the default of an option and, unless it is a choice, not that of another one."""
    if choices := help.choices(command, param):
        return next(choice for choice in reversed(choices) if choice != param.default)
    hint = get_type_hints(command.callback)[param.name]
    kinds = {hint, *get_args(hint)}
    if kinds & {int, float}:
        value = round(param.min or 0) + number % 16  # as many as --passes can be
        return value + (0.25 if float in kinds else value == param.default)
    return f"{param.name}-{number}.x"


def is_switch(param: Any) -> bool:
    return getattr(param, "is_flag", False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_value_arrives_as_itself(arrive: Arrive, verb: str) -> None:
    command, given, arguments = found(verb.split()), {}, []
    for number, param in enumerate(command.params, 3):
        if param.name in OF_COMMANDS or is_switch(param):
            continue
        several = getattr(param, "multiple", False) or param.nargs == -1
        values = [value_for(command, param, number + 50 * place) for place in range(1 + several)]
        assert values[0] != param.default
        given[param.name] = words(values if several else values[0])
        for value in values:
            arguments += [*(param.opts[:1] if hasattr(param, "is_flag") else ()), str(value)]
    arrived = arrive(verb, arguments)
    assert {key: arrived.get(key) for key in given} == given


@pytest.mark.parametrize("verb", VERBS)
def test_every_switch_arrives_as_itself(arrive: Arrive, verb: str) -> None:
    """Each alone, as two that are exchanged cannot be told apart together."""
    command = found(verb.split())
    needed = []
    for param in command.params:
        if param.required or not hasattr(param, "is_flag"):
            needed += [*(param.opts[:1] if hasattr(param, "is_flag") else ()), f"{param.name}.x"]
    plain = arrive(verb, needed)
    for param in filter(is_switch, command.params):
        if param.name in OF_COMMANDS | {"help"}:
            continue
        switch = (param.secondary_opts if param.default else param.opts)[0]
        arrived = arrive(verb, [*needed, switch])
        changed = {key for key, value in arrived.items() if value != plain[key] and key != "options"}
        assert changed - CALLBACKS == {param.name}, switch


SHARED = {"sample_rate": 9000, "subtype": "FLOAT", "force": True}
OF_MANIFESTS = SHARED | {"jobs": 3, "cluster": "local:2"}


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("mix.mix_files", SHARED | {"inputs": ["a.wav", "b.wav"], "snr": [2.5], "mode": "max", "sources": "voices"}),
        ("mix.mix_manifest", OF_MANIFESTS | {"inputs": ["rows.jsonl"]}),
        (
            "mix_conversations.sample_conversations",
            OF_MANIFESTS
            | {"inputs": ["rows.jsonl"], "conversation": "OV20"}
            | {"count": 7, "speakers": "3", "seconds": 8.5, "seed": 5},
        ),
    ],
)
def test_what_mix_is_told_arrives_as_itself(
    septool: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: str, given: dict[str, Any]
) -> None:
    arrived: dict[str, Any] = {}

    def take(*positional: Any, **named: Any) -> None:
        arrived.update(named, inputs=positional[0] if isinstance(positional[0], list) else [*positional])
        raise SystemExit(TAKEN)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    monkeypatch.setattr(f"septool.tasks.{task}", take)
    arguments = [*given["inputs"], "-o", "out"]
    for key, value in given.items():
        if key == "force":
            arguments.append("--force")
        elif key != "inputs":
            arguments += [f"--{key.replace('_', '-')}", value[0] if isinstance(value, list) else value]
    result = septool("mix", *arguments)
    assert result.status == TAKEN, result.errors
    arrived = {{"style": "conversation"}.get(key, key): words(value) for key, value in arrived.items()}
    assert {key: arrived.get(key) for key in given} == {key: words(value) for key, value in given.items()}
