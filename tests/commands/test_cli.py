"""The command line as a whole: help, start-up, and the agreement of every verb with its task."""

import inspect
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer.main

from septool import __version__, catalogue, cli, workers
from septool.commands import evaluate, extract, help, mix, separate, train
from septool.commands.examples import EXAMPLES
from septool.commands.usage_errors import verb_path
from septool.corpora import CORPORA
from septool.errors import UsageError
from septool.tasks import evaluate as evaluating
from septool.tasks import extract as extracting
from septool.tasks import mix as mixing
from septool.tasks import mix_conversations
from septool.tasks import prepare as preparing
from septool.tasks import separate as separating
from septool.tasks import train as training
from tests.conftest import ROOT as FOLDER
from tests.conftest import Command

ROOT: Any = typer.main.get_command(cli.app)
GROUPS = {name: list(help.subcommands(verb)) for name, verb in help.subcommands(ROOT).items()}
VERBS = [[name] for name in GROUPS] + [[name, child] for name, children in GROUPS.items() for child in children]
PRINTING = {
    "json",
    "progress",
    "quiet",
    "verbose",
    "debug",
    "yes",
    "offline",
    "ctx",
}  # what commands have beside their tasks
CALLBACKS = {"report", "progress", "warn", "obtain"}  # what tasks have beside their commands


def found(verb: list[str]) -> Any:
    command = ROOT
    for name in verb:
        command = command.get_command(None, name)
    return command


@pytest.mark.parametrize("verb", [[], *VERBS], ids=" ".join)
def test_every_verb_has_help(septool: Command, verb: list[str]) -> None:
    result = septool(*verb, "-h")
    assert result.status == 0
    assert result.lines[0].startswith(f"Usage: septool {' '.join(verb)}".strip())
    assert result.errors == []
    assert "Examples:" in result.lines
    assert not [line for line in result.lines if re.search(r"<\w+(\[\w+\])?>", line)]  # the types of Python


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_option_says_what_it_does(verb: list[str]) -> None:
    command = found(verb)
    assert command.help
    assert [param.name for param in command.params if not getattr(param, "help", None)] == []


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_has_no_line_breaks_of_the_source(verb: list[str]) -> None:
    command = found(verb)
    assert all("\n" not in part for part in command.help.split("\n\n"))


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_an_unknown_option_is_wrong_usage(septool: Command, verb: list[str]) -> None:
    result = septool(*verb, "--no-such-option")
    assert result.status == 2
    assert result.out == b""
    assert len(result.errors) == 1
    assert result.errors[0].startswith("septool: no such option: --no-such-option")
    assert result.errors[0].endswith(f"; see septool {' '.join(verb)} --help")


@pytest.mark.parametrize(
    ("arguments", "option", "value"),
    [
        (["separate", "x.wav", "--segment", "-3"], "'--segment'", "'-3'"),
        (["separate", "x.wav", "--segment", "long"], "'--segment'", "'long'"),
        (["prepare", "libri2mix", ".", "--mix", "bth"], "'--mix'", "'bth'"),
        (["prepare", "folder", ".", "--sample-rate", "10"], "'--sample-rate'", "'10'"),
        (["mix", "a.wav", "b.wav"], "'--out'", ""),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(
    septool: Command, arguments: list[str], option: str, value: str
) -> None:
    result = septool(*arguments)
    assert (result.status, result.out, len(result.errors)) == (2, b"", 1)
    assert result.errors[0].startswith("septool: ")
    assert option in result.errors[0]
    assert value in result.errors[0]
    assert "Value error" not in result.errors[0]
    assert "Input should be" not in result.errors[0]


@pytest.mark.parametrize(
    ("value", "required"),
    [("-1", "at least 0.5"), ("86401", "at most 86,400"), ("x", "a number")],
)
def test_what_a_number_has_to_be_is_said_as_in_the_help(septool: Command, value: str, required: str) -> None:
    (said,) = septool("separate", "x.wav", "--segment", value).errors
    assert said == (
        f"septool: invalid value for '--segment': it has to be {required}, not '{value}'; see septool separate --help"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["separate", "x.wav", "--ouput", "y"],
            "no such option: --ouput; did you mean --out?; see septool separate --help",
        ),
        (
            ["separate", "x.wav", "--speaker", "2"],
            "no such option: --speaker; did you mean --speakers?; see septool separate --help",
        ),
        (
            ["prepare", "folder", ".", "--mix", "both"],
            "no such option: --mix; did you mean --mixtures?; see septool prepare folder --help",
        ),
        (["models", "shw"], "no such command 'shw'; did you mean 'show'?; see septool models --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_probably_meant(septool: Command, arguments: list[str], said: str) -> None:
    result = septool(*arguments)
    assert (result.status, result.errors) == (2, [f"septool: {said}"])


EXAMPLE_LINES = [line for examples in EXAMPLES.values() for line, _ in examples]


@pytest.mark.parametrize("line", EXAMPLE_LINES)
def test_an_example_is_a_command_line(line: str) -> None:
    """Every option of it is there and takes its value; a pipe has one of septool in each place."""
    calls = [re.split(r"[>|]", part)[0] for part in re.split(r"\bseptool\b", line)[1:]]
    assert calls
    for call in calls:
        words = shlex.split(call)
        verb = verb_path(ROOT, words).split()[1:]
        assert verb
        found(verb).make_context(" ".join(verb), words[len(verb) :])


def test_examples_are_of_verbs_that_there_are() -> None:
    assert set(EXAMPLES) == {" ".join(verb) for verb in ([], *VERBS)}


def test_without_a_verb_there_is_help_alone(septool: Command) -> None:
    result = septool()
    assert result.status == 2
    assert result.errors == [] or not result.errors[-1].startswith("septool:")
    assert any("separate" in line for line in (*result.lines, *result.errors))


def test_the_version(septool: Command) -> None:
    assert septool("--version").lines == [f"septool {__version__}"]


def test_an_unknown_verb_is_wrong_usage(septool: Command) -> None:
    result = septool("seperate")
    assert result.status == 2
    assert any("seperate" in line for line in result.errors)


@pytest.mark.parametrize("arguments", [["--help"], ["separate", "--help"], ["models", "--help"]], ids=" ".join)
def test_help_does_without_torch(arguments: list[str], run: Command) -> None:
    # -X importtime writes every module that is imported to stderr.
    result = run(*arguments, interpreter=["-X", "importtime"])
    assert result.status == 0
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.errors}
    assert {"septool.cli", "typer"} <= imported
    assert not imported & {"torch", "numpy", "soundfile", "rich.progress"}


@pytest.mark.parametrize(
    "arguments", [["separate", ""], ["extract", "a.wav", "--reference", ""], ["eval", "", ""], ["mix", "a.wav", ""]]
)
def test_an_empty_argument_is_not_the_current_folder(septool: Command, arguments: list[str]) -> None:
    result = septool(*arguments)
    assert (result.status, result.out) == (2, b"")
    assert result.errors == ["septool: an argument is empty; is a variable of the shell not set?"]


def test_debug_lets_an_error_through_with_its_traceback(septool: Command) -> None:
    assert len(septool("models", "show", "nothing").errors) == 1
    with pytest.raises(UsageError, match="unknown model 'nothing'"):
        septool("models", "show", "nothing", "--debug")


def test_a_line_of_the_log_has_nothing_that_a_terminal_acts_on() -> None:
    record = logging.makeLogRecord({"msg": "%s is in use", "args": ("a\x1b[31mRED\nseptool: all is well",)})
    assert cli.LineFormatter().format(record) == r"septool: a\x1b[31mRED\nseptool: all is well is in use"


def test_verbose_says_what_is_used(run: Command, call: Path, tmp_path: Path) -> None:
    said = run("separate", call, "-m", "papez", "-o", tmp_path, "-d", "cpu", "-v").errors
    assert any("papez-small-8k is " in line and "papez-small-8k.safetensors, sha256 " in line for line in said)
    assert any(line.startswith("septool: cpu (") and "torch 2." in line for line in said)


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize(
    ("command", "task"),
    [
        (evaluate.evaluate, evaluating.evaluate),
        (separate.separate, separating.separate),
        (extract.extract, extracting.extract),
    ],
)
def test_a_command_has_the_parameters_of_its_task(command: Callable[..., Any], task: Callable[..., Any]) -> None:
    shown = {name: value for name, value in parameters(command).items() if name not in (*PRINTING, "strict", "compare")}
    work = {name: value for name, value in parameters(task).items() if name not in CALLBACKS}
    assert list(shown) == list(work)
    for name, value in shown.items():
        assert (tuple(value) if isinstance(value, list) else value) == work[name], name


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_corpus_has_its_own_options_and_the_parameters_of_the_task(corpus: str) -> None:
    shown, work = parameters(found(["prepare", corpus]).callback), parameters(preparing.prepare)
    expected = CORPORA[corpus].options | {name: work[name] for name in work.keys() - {"corpus", "options"}}
    assert {name: value for name, value in shown.items() if name not in PRINTING} == expected


def test_mix_has_the_parameters_of_its_tasks() -> None:
    shown = {name: value for name, value in parameters(mix.mix).items() if name not in PRINTING}
    files, rows = parameters(mixing.mix_files), parameters(mixing.mix_manifest)
    drawn = parameters(mix_conversations.sample_conversations)
    drawn["conversation"] = None if drawn.pop("style") is inspect.Parameter.empty else ...  # without: other tasks
    work = {name: value for name, value in (drawn | rows | files).items() if name not in ("report", "source")}
    assert set(shown) == set(work)
    for name, value in shown.items():
        assert (tuple(value) if isinstance(value, list) else value) == work[name], name
    for name in (files.keys() & rows.keys()) - {"report"}:
        assert files[name] == rows[name], name


def test_train_has_the_parameters_of_its_task() -> None:
    shown, work = parameters(train.train), parameters(training.train)
    # The command reads the recipe (with --set and --seed), finds the device and makes up the folder's name.
    assert shown.keys() - PRINTING - {"settings", "seed", "show"} == work.keys() - {"report"}
    for name in work.keys() - {"report", "recipe", "out", "device"}:
        assert shown[name] == work[name], name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["separate", "a.wav", "-m", "papezz"], "unknown model 'papezz'; did you mean 'papez'?"),
        (["models", "show", "galrr"], "unknown model 'galrr'; did you mean 'galr'?"),
        (["models", "fetch", "galr-smal"], "unknown model 'galr-smal'; did you mean 'galr-small'?"),
        (["models", "verify", "galr-smal"], "unknown model 'galr-smal'; did you mean 'galr-small'?"),
        (["eval", ".", ".", "--metric", "si-snrr"], "unknown metric 'si-snrr'; did you mean 'si-snr'?"),
        (["prepare", "foldr", "."], "unknown corpus 'foldr'; did you mean 'folder'?"),
        (["train", "galr-small", "--set", "loop.bach=2"], "unknown key 'loop.bach'; did you mean 'loop.batch'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_unknown_name_is_wrong_usage_with_a_suggestion(
    septool: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    entry = catalogue.Entry(
        model="papez",
        sha256="0" * 64,
        bytes=1,
        sample_rate=8000,
        sources=2,
        licence="",
        trained_on="",
        intended_use="",
        default=True,
    )
    known = {"papez-small": entry, "galr-small": replace(entry, model="galr")}
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: known)
    result = septool(*arguments)
    assert result.status == 2
    assert result.out == b""
    assert len(result.errors) == 1
    assert result.errors[0].startswith(f"septool: {said}")
    assert "(known: " in result.errors[0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_has_the_status_of_its_signal(
    septool: Command, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    monkeypatch.setattr(workers, "_signal", "")  # forgotten afterwards: tests share a process
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: os.kill(os.getpid(), number))
    result = septool("models", "list")
    assert result.status == status
    assert result.errors == ["septool: interrupted; what was finished is kept"]


def test_the_end_of_the_input_is_no_answer(septool: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object, **__: object) -> None:
        raise typer.Abort

    monkeypatch.setattr("septool.commands.downloading.obtain_weights", ask)
    result = septool("separate", "call.wav")
    assert (result.status, result.errors) == (1, ["septool: there was no answer; nothing was done"])


def test_a_lack_of_memory_is_one_line(septool: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy() -> None:
        raise MemoryError

    monkeypatch.setattr(catalogue, "read_catalogue", greedy)
    result = septool("models", "list")
    assert result.status == 1
    assert result.errors == ["septool: out of memory; shorter recordings, or a smaller --segment or --batch, need less"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_results_that_find_no_room_are_said_to_be_lost() -> None:
    command = [sys.executable, "-m", "septool", "models", "list", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=FOLDER, check=False)
    assert done.returncode == 1
    assert done.stderr.decode() == "septool: output cannot be written: No space left on device\n"


@pytest.mark.parametrize(("error", "shown"), [("InterruptedBySignal('SIGINT')", False), ("ValueError('lost')", True)])
def test_an_interrupt_that_cannot_go_up_is_no_traceback(error: str, shown: bool) -> None:
    code = f"""
import sys
from septool import cli
from septool.errors import InterruptedBySignal

class Callback:
    def __del__(self):
        raise {error}

sys.argv = ["septool", "--version"]
try:
    cli.main()
except SystemExit:
    Callback()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    assert done.stdout == f"septool {__version__}\n"
    assert ("ValueError: lost" in done.stderr) == shown
    assert bool(done.stderr) == shown
