"""What an installation can do: said in lines, and failed where something is broken."""

import json
import tomllib
from email.message import Message
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from septool.tasks import doctor
from tests.conftest import ROOT, Command


def test_everything_that_is_needed_is_here(septool: Command, tiny_checkpoint: Path) -> None:
    result = septool("doctor", "--json", "-m", tiny_checkpoint, "-d", "cpu")
    found = {(row := json.loads(line))["name"]: row for line in result.lines}
    assert result.status == 0, result.errors
    assert {row["state"] for row in found.values()} <= {"ok", "missing"}
    assert found["separation"]["detail"].startswith(f"1 s by {tiny_checkpoint}, 2 voices")
    assert "wav" in found["audio"]["detail"].split()
    assert found["weights galr-small-8k"]["state"] == "ok"
    table = septool("doctor", "-m", tiny_checkpoint, "-d", "cpu")
    assert [line.split("  ")[0] for line in table.lines[1:]] == list(found)


def test_what_fails_is_named(
    septool: Command, tiny_extractor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "file" / "cache"))
    needed = {"": ["torch>=2", "numpy>=99", "no_such_library"], "av": ["no_such_module"], "dev": ["no_such_tool"]}
    requirements = {extra: [Requirement(text) for text in texts] for extra, texts in needed.items()}
    monkeypatch.setattr(doctor, "_requirements", lambda: requirements)
    result = septool("doctor", "--json", "-m", tiny_extractor, "-d", "cpu")
    found = {(row := json.loads(line))["name"]: row for line in result.lines}
    assert result.status == 1
    assert result.errors == ["septool: failed: numpy, no_such_library, cache, separation"]
    assert found["extra av"]["state"] == "missing"
    assert found["extra av"]["detail"].endswith('no_such_module is not installed; pip install "septool[av]"')
    assert f"numpy is {np.__version__}, needed is >=99" in found["numpy"]["detail"]
    assert "extra dev" not in found
    assert "set SEPTOOL_CACHE" in found["cache"]["detail"]


def test_damaged_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "damaged").write_bytes(b"no weights")
    monkeypatch.setattr("septool.catalogue.bundled_path", lambda entry: tmp_path / "damaged")
    findings = list(doctor._weights())
    assert {finding.state for finding in findings} == {"failed"}
    assert all("is damaged: its sha256 is" in finding.detail for finding in findings)


def test_extras_are_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wheel says of itself is what is looked for, and of each extra it is said what it is for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(doctor.PURPOSES) == {canonicalize_name(extra) for extra in extras} - set(doctor.DEVELOPMENT)
    told = Message()
    for extra in extras:
        told["Provides-Extra"] = extra

    class Built:
        metadata = told
        requires = [  # noqa: RUF012
            *project["dependencies"],
            *(f'{each}; extra == "{extra}"' for extra, texts in extras.items() for each in texts),
        ]

    monkeypatch.setattr(doctor.metadata, "distribution", lambda name: Built)
    found = {extra: [each.name for each in needed] for extra, needed in doctor._requirements().items()}
    assert found["onnx"] == ["onnx", "onnxscript", "onnxruntime"]
    assert "torch" in found[""]
    assert set(found) == {"", *extras}


@pytest.mark.parametrize("text", ["[separate", "[separate]\nsegmnt = 1", "[separate]\nsegment = 0.1", "devise = 'cpu'"])
def test_a_broken_file_of_defaults_is_a_line(
    septool: Command, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "septool.toml").write_text(text)
    result = septool("doctor", "--json", "-m", tiny_checkpoint, "-d", "cpu")
    found = {(row := json.loads(line))["name"]: row for line in result.lines}
    assert (result.status, result.errors) == (1, ["septool: failed: defaults"])
    assert found["defaults"]["detail"].startswith("septool.toml")
    assert found["separation"]["state"] == "ok"


def test_defaults_that_make_sense_are_named_and_heeded(
    septool: Command, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "septool.toml").write_text(f'json = true\n[doctor]\nmodel = "{tiny_checkpoint}"\ndevice = "cpu"')
    result = septool("doctor")
    found = {(row := json.loads(line))["name"]: row for line in result.lines}
    assert found["defaults"] == {"name": "defaults", "state": "ok", "detail": "septool.toml"}
    assert str(tiny_checkpoint) in found["separation"]["detail"]


def test_a_limit_of_the_cache_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTOOL_CACHE_GB", "much")
    assert doctor._cache() == doctor.Check("cache", "failed", "SEPTOOL_CACHE_GB is 'much'; it is a number of gigabytes")
