"""What the documents tell people to type works: every command line is one, and what needs nothing else is run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main

from septool import cli
from septool.commands.usage_errors import verb_path
from tests.conftest import ROOT
from tests.docs.blocks import Block, find_blocks, septool_calls

CALLS = [(str(block), call) for block in find_blocks("sh") for call in septool_calls(block.text)]
TUTORIALS = [block for block in find_blocks("sh") if block.runs and block.page.parent.name == "tutorials"]
NUMBER = r"[+-]?\d+\.\d+"
PYTHON = [block for block in find_blocks("python") if block.runs]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the examples, as in the repository."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name in ("call.wav", "meeting.wav"):
        shutil.copy(ROOT / "examples" / "two-talkers.flac", tmp_path / name)
    return tmp_path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which ``septool`` is this one."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "septool"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m septool "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


def test_there_are_blocks() -> None:
    assert len(CALLS) > 30
    assert len(TUTORIALS) >= 5
    assert len(PYTHON) >= 4


@pytest.mark.parametrize(("where", "call"), CALLS, ids=[f"{where} {call[:30]}" for where, call in CALLS])
def test_a_command_line_is_one(where: str, call: str) -> None:
    """Every option of it is there and takes its value."""
    words = shlex.split(call)
    command: Any = typer.main.get_command(cli.app)
    verb = verb_path(command, words).split()[1:]
    if not verb:  # of septool itself
        assert words[0] in {name for param in command.params for name in param.opts}
        return
    for name in verb:
        command = command.get_command(None, name)
    if words[len(verb) :] not in (["--help"], []):
        command.make_context(" ".join(verb), words[len(verb) :])


@pytest.mark.slow
@pytest.mark.parametrize("block", TUTORIALS, ids=str)
def test_the_tutorials_run(block: Block, place: Path, environment: dict[str, str]) -> None:
    subprocess.run(["sh", "-e", "-c", block.text], cwd=place, env=environment, check=True, stdin=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_runs(block: Block, place: Path, environment: dict[str, str]) -> None:
    (place / "block.py").write_text(f"if __name__ == '__main__':\n{indented(block.text)}")
    subprocess.run([sys.executable, "block.py"], cwd=place, env=environment, check=True)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="its command lines are those of a Unix shell")
def test_the_readme_shows_what_comes_out(place: Path, environment: dict[str, str]) -> None:
    """What it separates, and how it scores that: names to the letter, numbers as far as processors agree."""
    readme = [block for block in find_blocks("sh", "text") if block.page == ROOT / "README.md"]
    shown = [(commands, output) for commands, output in pairwise(readme) if output.language == "text"]
    assert [next(septool_calls(commands.text)).split()[0] for commands, _ in shown] == ["separate", "eval"]
    for commands, output in shown:
        (call,) = septool_calls(commands.text)
        lines = subprocess.run(
            ["septool", *shlex.split(call)], cwd=place, env=environment, check=True, capture_output=True, text=True
        ).stdout.splitlines()
        expected = output.text.splitlines()
        assert [re.sub(NUMBER, "", line).split() for line in lines] == [
            re.sub(NUMBER, "", line).split() for line in expected
        ]
        values = [[float(each) for line in text for each in re.findall(NUMBER, line)] for text in (lines, expected)]
        assert values[0] == pytest.approx(values[1], abs=0.05)


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
