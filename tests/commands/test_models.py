"""``septool models``: the catalogue, one checkpoint, and weights that are not what they should be."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from septool import catalogue, checkpoints
from septool.files import sha256_of
from tests.conftest import RATE, Command
from tests.interop.converting import torchaudio_network


@pytest.fixture
def entries(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, catalogue.Entry]:
    """Two entries that can be fetched from a folder; neither is here yet."""
    entry = catalogue.Entry(
        model="papez",
        sha256=sha256_of(tiny_checkpoint),
        bytes=tiny_checkpoint.stat().st_size,
        sample_rate=RATE,
        sources=2,
        licence="CC0",
        trained_on="nothing",
        intended_use="tests",
        url=tiny_checkpoint.as_uri(),
        default=True,
        measured={"si_snri": 1.5},
    )
    known = {"papez-tiny": entry, "papez-other": replace(entry, default=False, sha256="0" * 64)}
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: known)
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    return known


def test_the_list(septool: Command, entries: dict[str, catalogue.Entry]) -> None:
    lines = septool("models", "list").lines
    assert lines[0].split()[:2] == ["checkpoint", "model"]
    assert lines[1].split() == ["papez-tiny", "papez", "(default)", "8000", "2", "0", "0.00", "1.50", "CC0", "no"]
    rows = [json.loads(line) for line in septool("models", "list", "--json").lines]
    assert [(row["name"], row["here"]) for row in rows] == [("papez-tiny", False), ("papez-other", False)]


def test_the_catalogue_that_is_shipped_can_be_listed(septool: Command) -> None:
    result = septool("models", "list", "--json")
    assert result.status == 0
    assert [json.loads(line)["name"] for line in result.lines] == list(catalogue.read_catalogue())


def test_fetched_verified_and_shown(septool: Command, entries: dict[str, catalogue.Entry], tmp_path: Path) -> None:
    result = septool("models", "show", "papez")
    assert result.status == 1
    assert result.errors == [
        "septool: the weights of papez-tiny are not here; get them with: septool models fetch papez-tiny"
    ]
    path = catalogue.weights_path(entries["papez-tiny"])
    assert septool("models", "fetch", "papez").lines == [str(path)]  # by the model's name: its default
    assert septool("models", "fetch", "papez-tiny").lines == [str(path)]  # nothing left to do
    assert septool("models", "verify").lines == ["papez-tiny: OK"]
    about = json.loads(septool("models", "show", "papez", "--json").lines[0])
    assert (about["name"], about["file"], about["licence"]) == ("papez-tiny", str(path), "CC0")
    assert about["config"]["chunk"] == 20
    assert not {"card", "published"} & about.keys()  # the entry has none
    shown = septool("models", "show", "papez").lines
    assert any(line.split() == ["sample_rate", "8000"] for line in shown)


def test_what_cannot_be_fetched_does_not_stop_the_rest(
    septool: Command, entries: dict[str, catalogue.Entry], tmp_path: Path
) -> None:
    url = entries["papez-tiny"].url
    entries["gone"] = replace(entries["papez-other"], url="file:///no/such/file", sha256="1" * 64)
    result = septool("models", "fetch", "papez-other", "gone", "papez-tiny")
    assert result.status == 1
    assert result.lines == [str(catalogue.weights_path(entries["papez-tiny"]))]
    good = entries["papez-tiny"].sha256[:12]
    assert result.errors[0] == (
        f"septool: {url} gave another file than expected: its sha256 is {good}..., "
        "checkpoints.toml says 000000000000..."
    )
    assert result.errors[1].startswith("septool: file:///no/such/file cannot be fetched: ")
    assert [path.name for path in (tmp_path / "cache/weights").iterdir()] == [
        f"{entries['papez-tiny'].sha256[:16]}.safetensors"
    ]


def test_json_has_the_failures_in_their_place(septool: Command, entries: dict[str, catalogue.Entry]) -> None:
    path = catalogue.weights_path(entries["papez-tiny"])
    for verb in ("fetch", "verify"):
        result = septool("models", verb, "papez-other", "papez-tiny", "--json")
        assert result.status == 1
        other, tiny = map(json.loads, result.lines)
        assert tiny == {"name": "papez-tiny", "file": str(path), "error": ""}
        assert (other["name"], other["file"] == "") == ("papez-other", verb == "fetch")
        assert result.errors == [f"septool: {other['error']}"]


def test_damage_is_found_and_a_remedy_named(septool: Command, entries: dict[str, catalogue.Entry]) -> None:
    septool("models", "fetch", "papez-tiny")
    path = catalogue.weights_path(entries["papez-tiny"])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = septool("models", "verify", "papez-other", "papez-tiny")
    assert result.status == 1
    assert result.out == b""
    assert "the weights of papez-other are not here" in result.errors[0]
    assert f"checkpoint {path.name} is damaged: its sha256 is " in result.errors[1]
    assert result.errors[1].endswith(f"delete {path} and fetch it again")
    assert septool("models", "fetch", "papez-tiny").status == 1


def test_a_file_is_not_taken_for_the_entry_of_its_name(
    septool: Command, entries: dict[str, catalogue.Entry], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "papez-tiny.safetensors"
    mine.write_bytes(tiny_checkpoint.read_bytes())
    about = json.loads(septool("models", "show", mine, "--json").lines[0])
    assert about["file"] == str(mine)
    assert "sha256" not in about
    assert about["sample_rate"] == RATE


def test_a_converted_checkpoint_tells_its_header_as_json(septool: Command, tmp_path: Path) -> None:
    torch.save(torchaudio_network().state_dict(), tmp_path / "weights.pt")
    out = tmp_path / "out.safetensors"
    arguments = ("models", "convert", "torchaudio-convtasnet", tmp_path / "weights.pt", "--sample-rate=8000", "-o", out)
    result = septool(*arguments, "--json", "-q")
    assert (result.status, result.errors) == (0, [])
    assert json.loads(result.lines[0]) == {"file": str(out)} | asdict(checkpoints.read_header(out))
    assert septool(*arguments, "--force", "-q").lines == [str(out)]
