"""What an installation can do: said in lines, and failed where something is broken."""

import json
from pathlib import Path

import pytest

from septool.tasks import doctor
from tests.conftest import Command


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
    monkeypatch.setattr(doctor, "LIBRARIES", ("torch", "no_such_library"))
    monkeypatch.setattr(doctor, "EXTRAS", {"av": (("no_such_module",), "m4a")})
    result = septool("doctor", "--json", "-m", tiny_extractor, "-d", "cpu")
    found = {(row := json.loads(line))["name"]: row for line in result.lines}
    assert result.status == 1
    assert result.errors == ["septool: failed: no_such_library, cache, separation"]
    assert found["extra av"] == {"name": "extra av", "state": "missing", "detail": 'm4a: pip install "septool[av]"'}
    assert "set SEPTOOL_CACHE" in found["cache"]["detail"]


def test_damaged_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "damaged").write_bytes(b"no weights")
    monkeypatch.setattr("septool.catalogue.bundled_path", lambda entry: tmp_path / "damaged")
    assert {finding.state for finding in doctor._weights()} == {"failed"}
