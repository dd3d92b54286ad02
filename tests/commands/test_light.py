"""Verbs that compute nothing with torch do without it: two seconds of work that nobody would see the use of."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from septool import audio, cli
from septool.commands import help
from tests.conftest import RATE, ROOT, voice
from tests.corpora import toys

TREE: Any = typer.main.get_command(cli.app)
# Runs every command line in one process in which no module can import torch, and tells how each ended.
SCRIPT = """
import contextlib, io, json, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchaudio"):
            raise ModuleNotFoundError(f"a light verb imports {name}", name=name)

sys.meta_path.insert(0, Refusing())
from septool.cli import app

ends = {}
for line in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            app(line, prog_name="septool", standalone_mode=False)
            ends[" ".join(line)] = "done"
        except BaseException as error:
            ends[" ".join(line)] = f"{type(error).__name__}: {error}"
json.dump(ends, sys.stdout)
"""
HELP = [[*verb, "--help"] for verb in ([], *([name] for name in help.subcommands(TREE)))] + [
    [name, child, "--help"]
    for name in ("models", "prepare")
    for child in help.subcommands(help.subcommands(TREE)[name])
]
WORK = {
    "models list": [],
    "models show": ["galr"],
    "models verify": ["galr"],
    "train --list": [],
    "config show": [],
    "prepare --list": [],
    "prepare libri2mix": ["{libri}/LibriSpeech", "--metadata", "{libri}/metadata/Libri2Mix", "--split", "test"],
    "prepare folder": ["{speech}", "--split", "all", "--mixtures", "2"],
    "mix": ["{speech}/a/1.wav", "{speech}/b/1.wav", "-o", "{out}/mix.wav"],
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("light")
    for number, speaker in enumerate("ab"):
        (folder / "speech" / speaker).mkdir(parents=True)
        audio.write_audio(folder / "speech" / speaker / "1.wav", voice(100 + 90 * number, seconds=1.5), RATE)
    places = {"libri": toys.librimix(folder / "libri", 2), "speech": folder / "speech", "out": folder / "out"}
    (folder / "out").mkdir()
    lines = [[*verb.split(), *(part.format(**places) for part in rest)] for verb, rest in WORK.items()]
    lines = [[*line, "-o", f"{folder}/out"] if line[0] == "prepare" and len(line) > 2 else line for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([*HELP, *lines]),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    said = list(json.loads(done.stdout).values())
    return dict(zip([*(" ".join(line) for line in HELP), *WORK], said, strict=True))


@pytest.mark.parametrize("verb", [*(" ".join(line) for line in HELP), *WORK])
def test_a_light_verb_does_without_torch(ends: dict[str, str], verb: str) -> None:
    assert ends[verb] == "done"


def test_what_computes_is_refused_here(tmp_path: Path) -> None:
    """The test above can fail: a verb that runs a model says that torch is not there."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([["separate", str(tmp_path)]]),
        capture_output=True,
        text=True,
        check=True,
        # Without an exported network, which would be computed without torch.
        env=os.environ | {"PYTHONPATH": str(ROOT), "SEPTOOL_CACHE": str(tmp_path / "cache")},
    )
    assert "a light verb imports torch" in done.stdout


def test_separate_and_extract_import_what_they_use_alone() -> None:
    """Seconds of start: SciPy is for conversations and scores, torch's compiler for optimizers."""
    code = """
import sys, septool.cli, septool.tasks.separate, septool.tasks.extract, torch
from septool.models.build import build_model

with torch.device("meta"):  # as checkpoints.load looks at a network before it builds it
    for model in ("papez", "galr", "band-gridnet"):
        build_model(model)
unused = "scipy.signal", "scipy.stats", "scipy.cluster", "torchaudio", "jinja2", "httpx", "mir_eval", "torch._dynamo"
print(*(name for name in unused if name in sys.modules))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == []


def test_help_imports_nothing_that_takes_long() -> None:
    """Neither torch nor what the parser checks values with."""
    script = (
        "import sys\nsys.argv = ['septool', 'models', 'show', '--help']\nfrom septool import cli\n"
        "try:\n    cli.main()\nfinally:\n"
        "    sys.stderr.write(' '.join({'torch', 'numpy', 'scipy', 'pydantic'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("Usage: septool models show [OPTIONS] NAME")
    assert done.stderr == ""
