"""``septool models push``: what is published can be used by its name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from septool import checkpoints
from septool.api import load_separator
from septool.config import shipped
from septool.errors import CheckpointError, UsageError
from septool.headers import read_header
from septool.tasks.push import make_card, push
from tests.conftest import Command
from tests.hub import Hub

# huggingface_hub uploads in a way that its own HTTP library would rather have otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(autouse=True)
def token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.token = "hf_secret"


def front_matter(hub: Hub) -> dict[str, Any]:
    return yaml.safe_load(hub.uploaded["me/tiny/README.md"].decode().split("---")[1])


def test_what_is_pushed_is_loaded_by_its_name(
    hub: Hub, tiny_checkpoint: Path, speech: np.ndarray, septool: Command
) -> None:
    result = septool("models", "push", tiny_checkpoint, "hf:me/tiny", "--licence", "CC BY 4.0")
    assert (result.status, len(result.lines)) == (0, 1)
    assert result.lines[0].startswith(f"{hub.url}/me/tiny/commit/")
    assert sorted(hub.uploaded) == ["me/tiny/README.md", "me/tiny/config.json", "me/tiny/model.safetensors"]
    front = front_matter(hub)
    assert (front["license"], front["library_name"]) == ("cc-by-4.0", "septool")
    config = json.loads(hub.uploaded["me/tiny/config.json"])
    assert (config["library_name"], config["model"], config["sample_rate"]) == ("septool", "papez", 8000)
    assert b'load_separator("hf:me/tiny")' in hub.uploaded["me/tiny/README.md"]
    hub.files |= hub.uploaded
    pipeline = load_separator("hf:me/tiny", "cpu")
    assert (pipeline.name, pipeline.header.licence) == ("tiny", "CC BY 4.0")
    mine = load_separator(str(tiny_checkpoint), "cpu")
    recording = speech.sum(0)[:8000]
    np.testing.assert_array_equal(pipeline.separate(recording, 8000), mine.separate(recording, 8000))


def test_a_card_says_what_a_network_is_for(tiny_checkpoint: Path, tiny_extractor: Path) -> None:
    def card(path: Path, **changes: Any) -> tuple[dict[str, Any], str]:
        text = make_card("tiny", "me/tiny", replace(read_header(path), licence="MIT", **changes))
        return yaml.safe_load(text.split("---")[1]), text

    front, text = card(tiny_checkpoint)
    assert ("speech-separation" in front["tags"], front["pipeline_tag"]) == (True, "audio-to-audio")
    assert "| Voices | 2 |" in text
    front, text = card(tiny_extractor)
    assert ("target-speaker-extraction" in front["tags"], "| Voices |" in text) == (True, False)
    front, text = card(tiny_checkpoint, model="speaker-net", sources=0)
    assert ("speaker-recognition" in front["tags"], "pipeline_tag" in front) == (True, False)
    assert "| Sample rate | 8000 Hz |" in text
    assert "septool separate" not in text


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("CC-BY-4.0", "cc-by-4.0"),
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("CC0", "cc0-1.0"),
        ("CC0-1.0", "cc0-1.0"),
        ("Apache-2.0", "apache-2.0"),
        ("Apache 2.0", "apache-2.0"),
    ],
)
def test_a_licence_goes_by_the_hubs_name_however_it_is_spelled(
    tiny_checkpoint: Path, licence: str, identifier: str
) -> None:
    text = make_card("tiny", "me/tiny", replace(read_header(tiny_checkpoint), licence=licence))
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], "license_name" in front) == (identifier, False)


@pytest.mark.parametrize("more", [(), ("--private",)])
def test_a_repository_is_private_if_that_was_asked_for(
    hub: Hub, tiny_checkpoint: Path, septool: Command, more: tuple[str, ...]
) -> None:
    result = septool("models", "push", tiny_checkpoint, "hf:me/tiny", "--licence", "MIT", *more)
    assert result.status == 0
    assert list(hub.created.values()) == [bool(more)]


def test_our_own_card_is_of_our_own_weights_alone(hub: Hub, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A run may be called as bundled weights are; their scores are not its own."""
    own = shipped("docs/models/galr-small-8k.md").read_text(encoding="utf-8").rstrip()
    push("galr-small-8k", "hf:me/tiny")
    assert own in hub.uploaded["me/tiny/README.md"].decode()
    path = tmp_path / "galr-small-8k" / "best.safetensors"
    path.parent.mkdir()
    shutil.copy(tiny_checkpoint, path)
    assert push(str(path), "hf:me/tiny", licence="MIT").model == "galr-small-8k"
    card = hub.uploaded["me/tiny/README.md"].decode()
    assert own not in card
    assert "| Model | papez |" in card
    assert "| Measured |" not in card


def test_weights_of_no_licence_are_not_published(hub: Hub, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not say under which licence its weights are; give it with --licence"):
        push(str(tiny_checkpoint), "hf:me/tiny")
    model, header = checkpoints.load(tiny_checkpoint)
    path = tmp_path / "a.safetensors"
    checkpoints.save(path, model.state_dict(), replace(header, licence="Own Terms 2", trained_on="x"))
    with pytest.raises(UsageError, match="--licence MIT was given, but the checkpoint says Own Terms 2"):
        push(str(path), "hf:me/tiny", licence="MIT")
    assert hub.requests == []
    pushed = push(str(path), "hf:me/tiny", licence="own-terms-2")  # the same, spelled otherwise
    assert pushed.licence == "Own Terms 2"
    assert hub.uploaded["me/tiny/model.safetensors"] == path.read_bytes()
    assert read_header(path).licence == "Own Terms 2"
    front = front_matter(hub)
    assert (front["license"], front["license_name"]) == ("other", "own-terms-2")


@pytest.mark.parametrize("to", ["me/tiny", "hf:tiny", "hf:me/tiny@main"])
def test_a_place_that_is_no_repository(hub: Hub, tiny_checkpoint: Path, to: str) -> None:
    with pytest.raises(UsageError, match="write hf:OWNER/NAME"):
        push(str(tiny_checkpoint), to, licence="MIT")


def test_a_hub_that_refuses_is_one_line(hub: Hub, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(CheckpointError, match=r"me/tiny cannot be written to: .*HF_TOKEN") as caught:
        push(str(tiny_checkpoint), "hf:me/tiny", licence="MIT")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("SEPTOOL_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="connections are off"):
        push(str(tiny_checkpoint), "hf:me/tiny", licence="MIT")
    assert hub.uploaded == {}
