"""``septool models``: the catalogue, one checkpoint, and weights that are not what they should be."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from septool import catalogue, checkpoints
from septool.downloads import RemoteFile
from septool.files import sha256_of
from tests.conftest import RATE, Command
from tests.hub import Hub
from tests.interop.converting import torchaudio_network


@pytest.fixture
def entries(tiny_checkpoint: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> dict[str, catalogue.Entry]:
    """Two entries that can be fetched; neither is here yet."""
    hub.files["tiny.safetensors"] = tiny_checkpoint.read_bytes()
    entry = catalogue.Entry(
        model="papez",
        sample_rate=RATE,
        sources=2,
        licence="CC0",
        trained_on="nothing",
        intended_use="tests",
        files=(
            RemoteFile(
                name="tiny.safetensors",
                url=f"{hub.url}/plain/tiny.safetensors",
                sha256=sha256_of(tiny_checkpoint),
                bytes=tiny_checkpoint.stat().st_size,
            ),
        ),
        notices="not for anything else",
        default=True,
        measured={"si_snri": 1.5},
    )
    wrong = replace(entry.files[0], sha256="0" * 64, url=f"{hub.url}/plain/other.safetensors", name="other.safetensors")
    hub.files["other.safetensors"] = tiny_checkpoint.read_bytes()
    known = {"papez-tiny": entry, "papez-other": replace(entry, default=False, files=(wrong,))}
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: known)
    return known


def fetched(entry: catalogue.Entry) -> Path:
    path = catalogue.weights_path(entry)
    assert path is not None
    return path


def test_the_list(septool: Command, entries: dict[str, catalogue.Entry]) -> None:
    assert [line.split()[0] for line in septool("models", "list").lines] == ["checkpoint"]
    lines = septool("models", "list", "--remote").lines
    assert lines[0].split()[:2] == ["checkpoint", "model"]
    row = ["papez-tiny", "papez", "(default)", "8000", "2", "-", "0.00", "1.50", "-", "CC0", "see", "show", "no"]
    assert lines[1].split() == row
    rows = [json.loads(line) for line in septool("models", "list", "--remote", "--json").lines]
    assert [(row["name"], row["here"]) for row in rows] == [("papez-tiny", False), ("papez-other", False)]
    septool("models", "fetch", "papez-tiny")
    assert [json.loads(line)["name"] for line in septool("models", "list", "--json").lines] == ["papez-tiny"]


def test_the_catalogue_that_is_shipped_can_be_listed(septool: Command) -> None:
    result = septool("models", "list", "--remote", "--json")
    assert result.status == 0
    assert [json.loads(line)["name"] for line in result.lines] == list(catalogue.read_catalogue())
    assert len(septool("models", "list", "--json").lines) < len(result.lines)


def test_a_table_of_the_recipe_is_a_row_and_settings_that_are_not_set_are_left_out(septool: Command) -> None:
    lines = septool("models", "show", "galr-small-8k").lines
    shown = {key: words for key, _, words in (line.partition("  ") for line in lines)}
    assert shown["recipe.schedule"].lstrip().startswith("decay ")
    assert "steps " in shown["recipe.loop"]
    assert "steps " not in shown["recipe"]
    assert not any("None" in words for words in shown.values())


def test_fetched_verified_and_shown(
    septool: Command, entries: dict[str, catalogue.Entry], tmp_path: Path, hub: Hub
) -> None:
    before = json.loads(septool("models", "show", "papez", "--json").lines[0])
    assert before["file"] == "not here; septool models fetch papez"
    assert before["goes_to"].startswith(str(tmp_path / "cache"))
    assert (before["licence"], before["from"]) == ("CC0", [f"{hub.url}/plain"])
    result = septool("models", "fetch", "papez")  # by the model's name: its default
    path = fetched(entries["papez-tiny"])
    assert result.lines == [str(path)]
    assert "septool: papez-tiny: licence: CC0" in result.errors
    assert "septool: papez-tiny: not for anything else" in result.errors
    assert septool("models", "fetch", "papez-tiny").lines == [str(path)]  # nothing left to do
    assert septool("models", "verify").lines == ["papez-tiny: OK"]
    about = json.loads(septool("models", "show", "papez", "--json").lines[0])
    assert (about["name"], about["file"], about["licence"]) == ("papez-tiny", str(path), "CC0")
    assert about["config"]["chunk"] == 20
    assert not {"card", "published"} & about.keys()  # the entry has none
    shown = septool("models", "show", "papez").lines
    assert any(line.split() == ["sample_rate", "8000"] for line in shown)


def test_what_cannot_be_fetched_does_not_stop_the_rest(
    septool: Command, entries: dict[str, catalogue.Entry], tmp_path: Path, hub: Hub
) -> None:
    gone = replace(entries["papez-other"].files[0], url=f"{hub.url}/plain/gone.safetensors", name="gone.safetensors")
    entries["gone"] = replace(entries["papez-other"], files=(gone,))
    result = septool("models", "fetch", "papez-other", "gone", "papez-tiny", "-q")
    assert result.status == 1
    assert result.lines == [str(fetched(entries["papez-tiny"]))]
    good = entries["papez-tiny"].files[0].sha256[:12]
    assert result.errors == [
        f"septool: {hub.url}/plain/other.safetensors is another file than expected: its sha256 is {good}..., "
        "checkpoints.toml says 000000000000...",
        f"septool: {hub.url}/plain/gone.safetensors cannot be fetched: the server has no such file (404)",
    ]
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == ["tiny.safetensors"]


def test_json_has_the_failures_in_their_place(septool: Command, entries: dict[str, catalogue.Entry]) -> None:
    for verb in ("fetch", "verify"):
        result = septool("models", verb, "papez-other", "papez-tiny", "--json")
        assert result.status == 1
        other, tiny = map(json.loads, result.lines)
        assert (tiny["name"], tiny["file"], tiny["error"]) == ("papez-tiny", str(fetched(entries["papez-tiny"])), "")
        assert (other["name"], other["file"]) == ("papez-other", "")
        assert result.errors[-1] == f"septool: {other['error']}"


def test_damage_is_found_and_a_remedy_named(septool: Command, entries: dict[str, catalogue.Entry]) -> None:
    septool("models", "fetch", "papez-tiny")
    path = fetched(entries["papez-tiny"])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = septool("models", "verify", "papez-other", "papez-tiny")
    assert result.status == 1
    assert result.out == b""
    assert "the weights of papez-other are not here" in result.errors[0]
    assert "is another file than expected: its sha256 is " in result.errors[1]
    assert septool("models", "show", "papez-tiny").status == 1
    assert septool("models", "fetch", "papez-tiny").status == 1  # which takes it away
    assert septool("models", "fetch", "papez-tiny").status == 0


def test_an_unknown_name_stops_a_fetch_before_it_begins(
    septool: Command, entries: dict[str, catalogue.Entry], hub: Hub
) -> None:
    result = septool("models", "fetch", "papez-tiny", "papez-tinny")
    assert result.status == 2
    assert "did you mean 'papez-tiny'?" in result.errors[0]
    assert hub.requests == []


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


def test_a_file_that_is_in_no_catalogue_is_whole_or_damaged(
    septool: Command, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_checkpoint.read_bytes()[:-100])
    result = septool("models", "verify", tiny_checkpoint, cut)
    assert result.status == 1
    assert result.lines == [f"{tiny_checkpoint}: OK"]
    assert len(result.errors) == 1
    assert str(cut) in result.errors[0]
