"""Published weights by name: fetched, converted once, used; by entry, by repository, from a folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import audio, catalogue, downloads
from septool.api import load_separator
from septool.catalogue import Entry, NotFetchedError, fetch_weights, resolve_checkpoint
from septool.downloads import RemoteFile
from septool.errors import CheckpointError, UsageError
from septool.files import sha256_of
from septool.headers import read_header
from septool.interop.conversion import load_pickled_tensors
from tests.conftest import Command
from tests.hub import COMMIT, Hub
from tests.interop.converting import asteroid_file, described, speechbrain_files
from tests.interop.espnet_files import espnet_files
from tests.models.parity import fixture, state

PARTS = ("hyperparams.yaml", "encoder.ckpt", "masknet.ckpt", "decoder.ckpt")
REPOSITORY = "speechbrain/sepformer-tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What SpeechBrain publishes of a SepFormer at 16 kHz."""
    folder = tmp_path_factory.mktemp("published") / "sepformer-tiny"
    folder.mkdir()
    speechbrain_files(folder, state(fixture("sepformer")))
    described(folder)
    return folder


@pytest.fixture
def entry(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """The entry of a catalogue, and its repository on the server."""
    for name in PARTS:
        hub.files[f"{REPOSITORY}/{name}"] = (folder / name).read_bytes()
    hub.cards[REPOSITORY] = {"license": "apache-2.0"}
    url = f"https://huggingface.co/{REPOSITORY}/resolve/{COMMIT}"
    sums = {"masknet.ckpt": sha256_of(folder / "masknet.ckpt")}
    entry = Entry(
        model="sepformer",
        source="speechbrain-sepformer",
        sample_rate=16000,
        sources=2,
        licence="Apache-2.0",
        notices="trained on something",
        trained_on="Libri2Mix",
        intended_use="tests",
        published={"si_snri": 20.6},
        files=tuple(RemoteFile(name=name, url=f"{url}/{name}", sha256=sums.get(name, "")) for name in PARTS),
    )
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"sepformer-tiny": entry})
    return entry


def test_an_entry_is_fetched_and_converted_once(entry: Entry, hub: Hub, tmp_path: Path, septool: Command) -> None:
    with pytest.raises(NotFetchedError, match="get them with: septool models fetch sepformer-tiny"):
        resolve_checkpoint("sepformer-tiny")
    path = fetch_weights("sepformer-tiny")
    header = read_header(path)
    assert (header.model, header.sample_rate, header.sources, header.licence) == ("sepformer", 16000, 2, "Apache-2.0")
    assert (header.notices, header.published) == ("trained on something", {"si_snri": 20.6})
    assert "huggingface.co/speechbrain/sepformer-tiny" in header.origin
    assert sha256_of(downloads.find_downloaded(entry.files[2]) or tmp_path) in header.origin
    seen = len(hub.requests)
    written = path.stat().st_mtime_ns
    assert resolve_checkpoint("sepformer-tiny") == ("sepformer-tiny", path)
    assert fetch_weights("sepformer-tiny") == path
    assert (len(hub.requests), path.stat().st_mtime_ns) == (seen, written)
    verified = septool("models", "verify").lines
    assert verified == ["sepformer-tiny: OK (as first seen: hyperparams.yaml, encoder.ckpt, decoder.ckpt)"]
    assert json.loads(septool("models", "show", "sepformer-tiny", "--json").lines[0])["licence"] == "Apache-2.0"


def test_a_conversion_of_another_version_is_made_again(entry: Entry, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    old = fetch_weights("sepformer-tiny")
    monkeypatch.setattr(catalogue, "CONVERSION_VERSION", 1000)
    with pytest.raises(NotFetchedError):
        resolve_checkpoint("sepformer-tiny")
    seen = len(hub.requests)
    new = fetch_weights("sepformer-tiny")
    assert new != old
    assert len(hub.requests) == seen, "its files were here"


def test_what_the_catalogue_says_otherwise_is_said_by_the_checkpoint(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    fetch_weights("sepformer-tiny")
    seen = len(hub.requests)
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"sepformer-tiny": replace(entry, notices="not for sale")})
    assert read_header(fetch_weights("sepformer-tiny")).notices == "not for sale"
    assert len(hub.requests) == seen, "its files were here"


def test_who_deletes_the_sums_trusts_what_is_there(entry: Entry, tmp_path: Path) -> None:
    path = fetch_weights("sepformer-tiny")
    seen = json.loads((tmp_path / "cache/weights/sums.lock.json").read_text())
    del seen[path.name]
    (tmp_path / "cache/weights/sums.lock.json").write_text(json.dumps(seen))
    assert resolve_checkpoint("sepformer-tiny")[1] == path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="is damaged"):
        resolve_checkpoint("sepformer-tiny")


def test_damage_to_what_was_converted_is_found(entry: Entry) -> None:
    path = fetch_weights("sepformer-tiny")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"is damaged: .*it was first seen with .*; delete .* and fetch it again"):
        resolve_checkpoint("sepformer-tiny")
    path.unlink()
    assert fetch_weights("sepformer-tiny") == path


def test_an_entry_that_says_another_rate_than_its_files_is_refused(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"sepformer-tiny": replace(entry, sample_rate=8000)})
    with pytest.raises(UsageError, match="8000 Hz was given, but these files say 16000"):
        fetch_weights("sepformer-tiny")
    assert not list((tmp_path / "cache/weights").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("change", "said"), [({"sources": 3}, "sources is 2 in them"), ({"model": "dprnn"}, "model is s")]
)
def test_an_entry_of_another_network_than_its_files_is_refused(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"sepformer-tiny": replace(entry, **change)})
    with pytest.raises(
        CheckpointError, match=f"sepformer-tiny/.* has other files than expected: {said}.*, checkpoints"
    ):
        fetch_weights("sepformer-tiny")
    assert not list((tmp_path / "cache/weights").glob("*.safetensors"))


def test_no_server_is_asked_for_sizes_that_are_known_roughly(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    rough = tuple(replace(each, about_bytes=1000) for each in entry.files)
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"sepformer-tiny": replace(entry, files=rough)})
    pending = catalogue.find_pending("sepformer-tiny")
    assert pending is not None
    assert (pending.bytes, pending.folder.name) == (4000, "models--speechbrain--sepformer-tiny")
    assert hub.requests == []


def test_a_folder_of_the_same_name_hides_no_download(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"sepformer-tiny": entry})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sepformer-tiny").mkdir()
    pending = catalogue.find_pending("sepformer-tiny")
    assert pending is not None
    assert pending.name == "sepformer-tiny"


def test_a_repository_as_others_write_it_is_told_how_it_is_written_here() -> None:
    with pytest.raises(UsageError, match=r"a repository of the hub is written hf:mpariente/DPRNN_WHAM"):
        resolve_checkpoint("mpariente/DPRNN_WHAM")


def test_a_server_that_is_not_there_is_said_in_words(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        CheckpointError, match=r"cannot be reached \(.*refused\); is there a network, and are HTTPS_PROXY"
    ):
        catalogue.find_entry("hf:o/n")


def test_a_repository_by_its_name(entry: Entry, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "read_catalogue", dict)
    path = fetch_weights(f"hf:{REPOSITORY}")
    assert read_header(path).licence == "apache-2.0"
    assert resolve_checkpoint(f"hf:{REPOSITORY}@{COMMIT}") == ("sepformer-tiny", path)
    monkeypatch.setenv("SEPTOOL_OFFLINE", "1")
    seen = len(hub.requests)
    assert resolve_checkpoint(f"hf:{REPOSITORY}@{COMMIT}")[1] == path
    assert resolve_checkpoint(f"hf:{REPOSITORY}")[1] == path, "the commit that is here"
    with pytest.raises(CheckpointError, match="hf:o/absent is not here, and connections are off"):
        resolve_checkpoint("hf:o/absent")
    assert len(hub.requests) == seen
    monkeypatch.delenv("SEPTOOL_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolve_checkpoint(f"hf:{REPOSITORY}@{COMMIT}")[1] == path, "no server is needed for what is here"
    with pytest.raises(CheckpointError, match="cannot be reached"):
        resolve_checkpoint("hf:o/absent")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("hf:o/absent", CheckpointError, "set HF_TOKEN"),
        ("hf:absent", UsageError, "write hf:OWNER/NAME or hf:OWNER/NAME@REVISION"),
        ("hf:o/pictures", CheckpointError, r"o/pictures is in no layout that septool knows; it has a\.png"),
    ],
)
def test_a_name_of_no_repository(hub: Hub, name: str, error: type[Exception], said: str) -> None:
    hub.files["o/pictures/a.png"] = b"x"
    with pytest.raises(error, match=said):
        fetch_weights(name)


def test_a_folder_is_converted_into_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, septool: Command, speech: np.ndarray
) -> None:
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    name, path = resolve_checkpoint(str(folder))
    assert name == "sepformer-tiny"
    assert resolve_checkpoint(str(folder)) == (name, path)
    assert path.parent == tmp_path / "cache/weights"
    recording = tmp_path / "call.wav"
    audio.write_audio(recording, speech.sum(0)[:8000], 16000)
    result = septool("separate", recording, "-m", folder, "-o", tmp_path / "out")
    assert (result.status, len(result.lines)) == (0, 2)
    (folder / "hyperparams.yaml").rename(folder / "kept")
    try:
        with pytest.raises(UsageError, match=r"do not say chunk and heads .*to septool models convert"):
            resolve_checkpoint(str(folder))
    finally:
        (folder / "kept").rename(folder / "hyperparams.yaml")


def test_a_file_of_espnet_goes_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "enh_train_raw"
    folder.mkdir()
    _, path = espnet_files(folder, "tfgridnet")
    assert resolve_checkpoint(str(path)) == resolve_checkpoint(str(folder))
    assert resolve_checkpoint(str(path))[0] == "enh_train_raw"


def test_a_repository_as_espnet_packs_a_model(hub: Hub, tmp_path: Path) -> None:
    for path in espnet_files(tmp_path, "tfgridnet"):
        hub.files[f"o/grid/exp/enh_train_raw/{path.name}"] = path.read_bytes()
    hub.files["o/grid/meta.yaml"] = b"espnet: '202402'"
    path = fetch_weights("hf:o/grid")
    assert read_header(path).model == "tf-gridnet"
    assert resolve_checkpoint(f"hf:o/grid@{COMMIT}") == ("grid", path)


def test_a_file_is_converted_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    tensors, arguments = state(fixture("convtasnet_asteroid")), {"n_blocks": 3, "sample_rate": 8000}
    (path,) = asteroid_file(tmp_path / "pytorch_model.bin", "ConvTasNet", tensors, arguments)
    name, derived = resolve_checkpoint(str(path))
    assert name == "pytorch_model"
    assert read_header(derived).model == "conv-tasnet"
    again = load_pickled_tensors(path)
    again["state_dict"]["masker.bottleneck.0.beta"] += 1
    torch.save(again, path)
    assert resolve_checkpoint(str(path))[1] != derived, "other weights, another checkpoint"


# The question before a download.


@pytest.fixture
def quiet_call(tmp_path: Path, speech: np.ndarray) -> Path:
    path = tmp_path / "in" / "call.wav"
    path.parent.mkdir()
    audio.write_audio(path, speech.sum(0)[:4000], 16000)
    return path


def test_off_a_terminal_nothing_is_fetched_unasked(
    entry: Entry, quiet_call: Path, tmp_path: Path, septool: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("separate", quiet_call, "-m", "sepformer-tiny", "-o", tmp_path / "out")
    result = septool(*command)
    assert result.status == 1
    assert len(result.errors) == 1
    assert "are not here; get them with: septool models fetch sepformer-tiny (or give --yes" in result.errors[0]
    assert septool(*command, "--yes").status == 0
    assert septool(*command, "--force").status == 0
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "another"))
    assert septool(*command, "--force").status == 1
    monkeypatch.setenv("SEPTOOL_AUTO_FETCH", "1")
    result = septool(*command, "--force")
    assert result.status == 0
    assert "septool: licence: Apache-2.0" in result.errors
    assert "septool: trained on something" in result.errors


def test_offline_is_said(entry: Entry, quiet_call: Path, septool: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTOOL_OFFLINE", "")  # which the flag sets, and this test takes back
    result = septool("separate", quiet_call, "-m", "sepformer-tiny", "--yes", "--offline")
    assert result.status == 1
    assert "connections are off" in result.errors[-1]


def test_a_loaded_pipeline_is_fetched(entry: Entry, speech: np.ndarray) -> None:
    pipeline = load_separator("sepformer-tiny")
    assert pipeline.header.sample_rate == 16000
    assert pipeline.separate(speech.sum(0)[:4000], 16000).shape == (2, 4000)


def test_enhancement_is_written_as_clean(
    tmp_path: Path, quiet_call: Path, septool: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from septool.models.build import build_model
    from tests.interop.converting import SIZES, their_names

    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    foreign, sizes, arguments = SIZES["ConvTasNet"]
    model = build_model(foreign.model, sizes | {"sources": 1})
    tensors = their_names(model, foreign)
    (path,) = asteroid_file(tmp_path / "model.bin", "ConvTasNet", tensors, arguments | {"sample_rate": 16000})
    result = septool("separate", quiet_call, "-m", path, "-o", tmp_path / "out")
    assert result.status == 0
    assert result.lines == [str(tmp_path / "out/call_clean.wav")]
    assert septool("separate", quiet_call, "-m", path, "-o", tmp_path / "out", "--name", "{stem}_s{voice}").lines == [
        str(tmp_path / "out/call_s1.wav")
    ]
