"""Checkpoints: whole, checked, and clear about what is wrong with them."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from septool import catalogue, checkpoints, provenance
from septool.checkpoints import Header
from septool.downloads import HUB_FILE, RemoteFile
from septool.errors import CheckpointError, UsageError
from septool.files import sha256_of
from septool.interop.conversion import SOURCES
from septool.models import MODELS
from septool.models.base import Extractor
from septool.models.build import build_model
from tests.conftest import RATE
from tests.hub import Hub
from tests.models.tiny import TINY


def with_header(tiny: Path, path: Path, text: str | None) -> Path:
    model, _ = checkpoints.load(tiny)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    save_file(weights, path, metadata=None if text is None else {checkpoints.KEY: text})
    return path


def test_what_is_saved_is_loaded(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, header = checkpoints.load(tiny_checkpoint)
    assert not model.training
    full = replace(
        header, trained_on="a", recipe={"b": [1]}, steps=3, hours=0.5, measured={"si_snri": 1.0}, licence="c"
    )
    path = tmp_path / "x.safetensors"
    checkpoints.save(path, model.state_dict(), full)
    again, read = checkpoints.load(path)
    assert read == full
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert path.stat().st_mode & 0o044  # others may read it
    assert [each.name for each in tmp_path.iterdir()] == ["x.safetensors"]


def test_what_is_behind_the_last_whole_hop_is_dropped_as_the_header_says(tmp_path: Path) -> None:
    config = {
        "filters": 8,
        "hidden": 8,
        "blocks": 1,
        "summary": 2,
        "heads": 2,
        "segment": 10,
        "window": 16,
        "stride": 4,
    }
    model, path = build_model("galr", config).eval(), tmp_path / "x.safetensors"
    header = Header(model="galr", config=asdict(model.config), sample_rate=RATE, sources=2, drops_tail=True)
    checkpoints.save(path, model.state_dict(), header)
    mixture = torch.randn(1, 405)  # a window of 16 and 97 hops of 4 are 404
    estimates = checkpoints.load(path)[0](mixture)
    torch.testing.assert_close(estimates[..., :404], model(mixture[:, :404]))
    assert estimates.shape[-1] == 405
    assert not estimates[..., 404:].any()


def test_a_model_without_windows_drops_no_tail(tmp_path: Path) -> None:
    model, path = build_model("tf-gridnet", TINY["tf-gridnet"]), tmp_path / "x.safetensors"
    header = Header(model="tf-gridnet", config=asdict(model.config), sample_rate=RATE, sources=2, drops_tail=True)
    checkpoints.save(path, model.state_dict(), header)
    with pytest.raises(CheckpointError, match="says drops_tail, but a tf-gridnet has no windows of samples"):
        checkpoints.load(path)


def test_equal_checkpoints_are_equal_files(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, header = checkpoints.load(tiny_checkpoint)
    for name in ("a", "b"):
        checkpoints.save(tmp_path / name, model.state_dict(), header)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


HEADER = {"model": "papez", "config": {}, "sample_rate": RATE, "sources": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "{} is not a septool checkpoint: its header has no 'septool' entry"),
        ("{", "checkpoint {} has a damaged header: "),
        ("3", "checkpoint {} has a damaged header: "),
        ("{}", "checkpoint {} has a damaged header: model is missing"),
        (
            json.dumps(HEADER | {"sample_rate": 0}),
            "checkpoint {} has a damaged header: Header: sample_rate is 0; it is 1000 to 1000000 Hz",
        ),
        (
            json.dumps(HEADER | {"passes": 10**9}),
            "checkpoint {} has a damaged header: Header: passes is 1000000000; it is 1 to 16",
        ),
        (json.dumps(HEADER | {"modle": 1}), "checkpoint {} has a damaged header: unknown key 'modle'"),
        (json.dumps(HEADER | {"model": "papes"}), "checkpoint {}: unknown model 'papes'; did you mean 'papez'?"),
        (json.dumps(HEADER | {"config": {"widht": 1}}), "checkpoint {}: unknown key 'config.widht'; did you mean"),
        (json.dumps(HEADER | {"config": TINY["papez"], "sources": 3}), "checkpoint {} says 3 sources, its model 2"),
        (json.dumps(HEADER), "checkpoint {} does not fit the model in "),
    ],
)
def test_a_header_that_is_none(tiny_checkpoint: Path, tmp_path: Path, text: str | None, said: str) -> None:
    path = with_header(tiny_checkpoint, tmp_path / "x.safetensors", text)
    with pytest.raises(CheckpointError) as error:
        checkpoints.load(path)
    assert str(error.value).startswith(said.format(path))
    assert "\n" not in str(error.value)


def test_a_model_that_does_not_separate(tmp_path: Path) -> None:
    name = next(name for name in MODELS if issubclass(MODELS[name], Extractor))
    path = tmp_path / "x.safetensors"
    checkpoints.save(path, {"a": torch.zeros(1)}, Header(model=name, config={}, sample_rate=RATE, sources=1))
    with pytest.raises(CheckpointError, match=f"is a {name}, which does not separate"):
        checkpoints.load(path)


def test_every_wrong_weight_is_counted_and_one_named(tiny_checkpoint: Path) -> None:
    model = build_model("papez", TINY["papez"] | {"feedforward": 25})
    with pytest.raises(CheckpointError, match=r"in 3 places: .* is \[.*24.*\], the model has \[.*25.*\]$"):
        checkpoints.load_into(model, tiny_checkpoint)
    with pytest.raises(CheckpointError, match=r"in \d+ places: .*(is missing, the model has \[|the model has none)"):
        checkpoints.load_into(build_model("galr", TINY["galr"]), tiny_checkpoint)


@pytest.fixture
def entry(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> catalogue.Entry:
    hub.files["tiny.safetensors"] = tiny_checkpoint.read_bytes()
    file = RemoteFile(
        name="tiny.safetensors", url=f"{hub.url}/plain/tiny.safetensors", sha256=sha256_of(tiny_checkpoint)
    )
    entry = catalogue.Entry(
        model="papez",
        sample_rate=RATE,
        sources=2,
        licence="",
        trained_on="",
        intended_use="",
        files=(file,),
        default=True,
    )
    other = replace(entry, default=False, files=(), file="absent.safetensors")
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"papez-a": entry, "papez-b": other})
    return entry


def test_the_weights_of_a_run_go_by_its_name(tmp_path: Path) -> None:
    assert catalogue.resolve_checkpoint("runs/papez-small/best.safetensors")[0] == "papez-small"
    assert catalogue.resolve_checkpoint("runs/papez-small/average.safetensors")[0] == "papez-small-average"
    assert catalogue.resolve_checkpoint("other/last.safetensors")[0] == "other-last"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "conv-tasnet",
            r"conv-tasnet has no default checkpoint; septool models list --remote .* \(septool train RECIPE\)",
        ),
        ("{run}", "{run} is no checkpoint; a training run's is {run}/best.safetensors"),
        ("{run}/last.pt", "{run}/last.pt is no checkpoint; a training run's is {run}/best.safetensors"),
    ],
)
def test_what_has_no_checkpoint_says_where_one_comes_from(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.format(run=tmp_path)):
        catalogue.find_entry(name.format(run=tmp_path))


def test_names_and_files_are_resolved(entry: catalogue.Entry, tiny_checkpoint: Path) -> None:
    assert catalogue.resolve_checkpoint(str(tiny_checkpoint)) == ("tiny", tiny_checkpoint)
    with pytest.raises(
        CheckpointError, match="the weights of papez-a are not here; get them with: septool models fetch"
    ):
        catalogue.resolve_checkpoint("papez")
    path = catalogue.fetch_weights("papez-a")
    assert path.read_bytes() == tiny_checkpoint.read_bytes()
    assert catalogue.resolve_checkpoint("papez") == catalogue.resolve_checkpoint("papez-a") == ("papez-a", path)
    with pytest.raises(UsageError, match=r"unknown model 'papez-c'; did you mean 'papez-b'\?|did you mean 'papez-a'\?"):
        catalogue.resolve_checkpoint("papez-c")


@pytest.mark.parametrize("name", catalogue.REPLACED)
def test_the_name_of_what_was_replaced_finds_what_replaced_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()  # names that are known come before files
    assert name not in MODELS
    assert name not in catalogue.read_catalogue()
    assert catalogue.resolve_checkpoint(name) == catalogue.resolve_checkpoint(catalogue.REPLACED[name])


def test_bundled_weights_lie_in_the_package(entry: catalogue.Entry) -> None:
    path = catalogue.weights_path(replace(entry, file="x.safetensors", files=()))
    assert path == Path(checkpoints.__file__).parent / "weights/x.safetensors"


def test_bundled_weights_that_are_missing_cannot_be_fetched(entry: catalogue.Entry) -> None:
    with pytest.raises(CheckpointError, match="the bundled weights of papez-b are missing; install septool again"):
        catalogue.fetch_weights("papez-b")


def test_the_shipped_catalogue_is_sound() -> None:
    known = catalogue.read_catalogue()
    defaults = [entry.model for entry in known.values() if entry.default]
    assert len(defaults) == len(set(defaults))
    for name, entry in known.items():
        assert entry.model in MODELS, name
        assert (entry.file is None) != (not entry.files), name
        for digest in (entry.sha256, *(each.sha256 for each in entry.files)):
            assert re.fullmatch("[0-9a-f]{64}" if entry.file and digest == entry.sha256 else "([0-9a-f]{64})?", digest)
        for each in entry.files:
            assert each.url.startswith("https://"), name
            assert each.url.endswith(f"/{each.name}"), name
            place = HUB_FILE.fullmatch(each.url)
            assert place is None or re.fullmatch("[0-9a-f]{40}", place[2]), "another revision may be another network"
        assert entry.source == catalogue.OURS or entry.source in SOURCES, name
        assert entry.licence, name
        path = catalogue.weights_path(entry)
        if entry.file is not None:
            assert path is not None
            catalogue.check_weights(path, entry)
            header = checkpoints.read_header(path)
            assert (header.model, header.sample_rate, header.sources) == (entry.model, entry.sample_rate, entry.sources)
            assert path.stat().st_size == entry.bytes


def test_a_header_is_plain_data(tiny_checkpoint: Path) -> None:
    header = checkpoints.read_header(tiny_checkpoint)
    assert json.loads(json.dumps(asdict(header))) == asdict(header)
    assert provenance.library_versions()["torch"] == torch.__version__
