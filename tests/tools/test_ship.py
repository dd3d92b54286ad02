"""A checkpoint is shipped with its scores, again and again, and not with scores of a part of the manifest."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from septool import catalogue, checkpoints
from septool.config import JsonDict, build, read_toml
from septool.data import manifest
from septool.files import sha256_of
from septool.inference.dtype import BF16_CHANGE
from septool.tasks.prepare import prepare
from septool.training.recipe import Data, Recipe
from septool.training.recipe_files import recipe_record
from tools import ship


def recipe(train: str, validation: str, initialize: str) -> JsonDict:
    return recipe_record(Recipe(model="papez", data=Data(train=train, validation=validation), initialize=initialize))


@pytest.fixture
def best(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint of a run."""
    model, header = checkpoints.load(tiny_checkpoint)
    begun = recipe("/there/train-speech.jsonl", "/there/dev-2mix.jsonl", "/there/begun.safetensors")
    manifests = {"data/train-speech.jsonl": "a", "data/noise/train-speech.jsonl": "b", "/there/dev-2mix.jsonl": "c"}
    header = replace(header, recipe=begun, trained_on="x", manifests=manifests)
    checkpoints.save(tmp_path / "best.safetensors", model.state_dict(), header)
    return tmp_path / "best.safetensors"


@pytest.fixture
def mixtures(tree: Path, tmp_path: Path) -> Path:
    prepare("folder", tree, out=tmp_path, split="dev", mixtures=1)
    return tmp_path / "dev-2mix.jsonl"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where things are shipped to: a catalogue with a default of the same model."""
    (tmp_path / "root/septool/weights").mkdir(parents=True)
    (tmp_path / "root/docs/models").mkdir(parents=True)
    monkeypatch.setattr(ship, "ROOT", tmp_path / "root")
    monkeypatch.setattr(ship, "METRICS", "si-snri,stoi")
    old: dict[str, Any] = {"model": "papez", "default": True, "published": {"si_snri": 17.2}, "file": "old.safetensors"}
    texts = dict.fromkeys(("sha256", "licence", "trained_on", "intended_use"), "-")
    entry = build(catalogue.Entry, old | texts | {"bytes": 1, "sample_rate": 8000, "sources": 2})
    known = {"old": entry, "other": replace(entry, model="galr")}

    def shown() -> dict[str, catalogue.Entry]:
        path = tmp_path / "root/checkpoints.toml"
        if not path.exists():
            return known
        return {name: build(catalogue.Entry, values) for name, values in read_toml(path).items()}

    monkeypatch.setattr(catalogue, "read_catalogue", shown)
    return tmp_path / "root"


@pytest.mark.parametrize("has_fast_bfloat16", [True, False])
def test_a_checkpoint_is_renewed(
    root: Path, best: Path, mixtures: Path, monkeypatch: pytest.MonkeyPatch, has_fast_bfloat16: bool
) -> None:
    monkeypatch.setattr(ship, "has_fast_bfloat16", lambda _: has_fast_bfloat16)
    monkeypatch.setattr("sys.argv", ["ship", "new", str(best), "--manifest", str(mixtures), "--default"])
    for _ in range(2):
        assert ship.main() == 0
    known = catalogue.read_catalogue()
    assert {name: entry.default for name, entry in known.items()} == {"new": True, "old": False, "other": True}
    assert known["old"].published == {"si_snri": 17.2}
    path = root / "septool/weights/new.safetensors"
    assert sha256_of(path) == known["new"].sha256
    header = checkpoints.read_header(path)
    assert header.measured == known["new"].measured
    assert header.measured["manifest_sha256"] == sha256_of(mixtures)
    assert (BF16_CHANGE in header.measured) == has_fast_bfloat16
    assert abs(header.measured.get(BF16_CHANGE, 0.0)) < 1
    assert header.recipe == json.loads(json.dumps(recipe("train-speech.jsonl", "dev-2mix.jsonl", "begun.safetensors")))
    assert header.manifests == {
        "data/train-speech.jsonl": "a",
        "data/noise/train-speech.jsonl": "b",
        "dev-2mix.jsonl": "c",
    }
    assert len((root / "docs/models/new.csv").read_text().splitlines()) == 3


def test_a_mixture_that_cannot_be_scored_stops_it(
    root: Path, best: Path, mixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = manifest.read_manifest(mixtures)[0]
    lost = replace(row, id="lost", sources=(row.sources[0], replace(row.sources[1], path="lost.wav")))
    mixtures.write_text(manifest.dump_manifest([row, lost]))
    monkeypatch.setattr("sys.argv", ["ship", "new", str(best), "--manifest", str(mixtures)])
    with pytest.raises(SystemExit, match=r"nothing was shipped: lost: .*lost\.wav does not exist"):
        ship.main()
    assert "new" not in catalogue.read_catalogue()
    assert not list((root / "septool/weights").iterdir())


@pytest.mark.parametrize("half", [False, True])
def test_of_several_checkpoints_the_mean_is_shipped(best: Path, tmp_path: Path, half: bool) -> None:
    weights = load_file(best)
    other = {name: value + 1 for name, value in weights.items()}
    checkpoints.save(tmp_path / "last.safetensors", other, replace(checkpoints.read_header(best), steps=7))
    (tmp_path / "new").mkdir()
    path = ship.prepare([best, tmp_path / "last.safetensors"], tmp_path / "new", half=half)
    assert checkpoints.read_header(path).steps == 7
    for name, value in load_file(path).items():
        assert value.dtype == (torch.float16 if half else torch.float32)
        torch.testing.assert_close(value.float(), weights[name] + 0.5, atol=1e-3, rtol=1e-3)


def test_what_a_norm_counts_does_not_become_infinite(best: Path, tmp_path: Path) -> None:
    batches = torch.tensor(100_000)  # beyond the largest number of 16 bits
    checkpoints.save(best, load_file(best) | {"norm.num_batches_tracked": batches}, checkpoints.read_header(best))
    (tmp_path / "new").mkdir()
    kept = load_file(ship.prepare([best], tmp_path / "new", half=True))["norm.num_batches_tracked"]
    torch.testing.assert_close(kept.to(batches.dtype), batches)
