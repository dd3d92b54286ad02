"""``septool models export``: files that ONNX Runtime reads, equal to the checkpoint, or none."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import checkpoints
from septool.config import field_values
from septool.errors import CheckpointError, SeptoolError, UsageError
from septool.inference import onnx_export, onnx_runtime
from septool.inference.level import separate_at_model_level
from septool.interop.layouts import Layout, rename
from septool.interop.to_asteroid import CONV_TASNET, DPRNN
from septool.interop.to_speechbrain import SEPFORMER
from septool.models.build import build_model
from septool.tasks.convert import convert
from septool.tasks.export import export
from tests.models.parity import fixture, state
from tests.models.tiny import TINY

# Networks on spectra have no form in ONNX, nor has halting; for some with LSTMs the exporter takes minutes.
EXPORTABLE = ("afrcnn", "conv-tasnet", "dprnn", "galr", "papez", "sepformer", "sudormrf")


def checkpoint(model: str, folder: Path) -> Path:
    torch.manual_seed(0)
    config = TINY[model] | ({"halting": "none"} if model == "papez" else {})
    network = build_model(model, config)
    header = checkpoints.Header(model=model, config=config, sample_rate=8000, sources=2, licence="CC0")
    path = folder / f"{model}.safetensors"
    checkpoints.save(path, network.state_dict(), header)
    return path


def test_a_file_gives_what_the_checkpoint_gives_at_any_length_and_level(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = checkpoint("conv-tasnet", tmp_path)
    exported = export(str(path), tmp_path / "new" / "a.onnx")
    assert (exported.model, exported.sample_rate, exported.sources) == ("conv-tasnet", 8000, 2)
    assert exported.difference < 1e-5
    assert exported.bytes == (tmp_path / "new" / "a.onnx").stat().st_size
    session = runtime.InferenceSession(str(tmp_path / "new" / "a.onnx"))
    assert json.loads(session.get_modelmeta().custom_metadata_map["septool"])["licence"] == "CC0"
    network, _ = checkpoints.load(path)
    for samples, level in ((1000, 1.0), (12345, 1e-3)):
        mixture = level * np.random.default_rng(0).standard_normal((1, samples)).astype(np.float32)
        (voices,) = session.run(["voices"], {"mixture": mixture})
        with torch.inference_mode():
            expected = separate_at_model_level(network, torch.from_numpy(mixture)).numpy()
        np.testing.assert_allclose(voices, expected, atol=1e-5 * np.abs(expected).max())
    with pytest.raises(SeptoolError, match=r"a\.onnx exists; use --force"):
        export(str(path), tmp_path / "new" / "a.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("model", EXPORTABLE)
def test_models_are_exported(model: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert export(str(checkpoint(model, tmp_path)), tmp_path / "a.onnx").difference < 2e-5


def test_a_file_that_gives_something_else_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Graph:
        model = type("Model", (), {"metadata_props": {}})

        def save(self, path: str) -> None:
            Path(path).write_bytes(b"x")

    class Session:
        def run(self, _: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [2 * given["mixture"][:, None].repeat(2, 1)]

    monkeypatch.setattr(onnx_export, "check_packages", lambda: None)
    monkeypatch.setattr(onnx_export, "trace", lambda *_: Graph())
    monkeypatch.setattr(onnx_runtime, "open_session", lambda *_, **__: Session())
    path = checkpoint("conv-tasnet", tmp_path)
    with pytest.raises(SeptoolError, match="conv-tasnet as ONNX gives something else"):
        export(str(path), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_network_without_a_form_in_onnx_is_said_in_a_line(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(SeptoolError, match="adanet has no form in ONNX, as far as torch"):
        export(str(checkpoint("adanet", tmp_path)), tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_what_makes_no_sense_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="leave out --to and --out"):
        export("galr", tmp_path / "a.onnx", cache=True)
    with pytest.raises(UsageError, match="--out, or give --cache"):
        export("galr")
    with pytest.raises(UsageError, match="--dtype int8 is for ONNX; leave out --to"):
        export("galr", tmp_path / "a.pth", to="asteroid", dtype="int8")
    with pytest.raises(UsageError, match=r"output must end in \.onnx: .*a\.bin"):
        export("galr", tmp_path / "a.bin")
    monkeypatch.setattr(onnx_export, "check_packages", lambda: None)
    with pytest.raises(CheckpointError, match="is a speaker-net, which does not separate"):
        export("speaker-net", tmp_path / "a.onnx")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        UsageError, match=r"onnxruntime is not installed; install it with: pip install 'septool\[onnx\]'"
    ):
        export("galr", tmp_path / "a.onnx")


# Other toolkits.

ASTEROID = {
    "conv-tasnet": {},
    "dprnn": {"rectify": False, "bias": True, "padding": "unfold", "mask": "sigmoid"},
}


def exported_to(to: str, model: str, folder: Path, out: str, **changes: Any) -> Path:
    torch.manual_seed(0)
    network = build_model(model, TINY[model] | changes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    header = checkpoints.Header(
        model=model, config=TINY[model] | changes, sample_rate=16000, sources=2, licence="CC0", trained_on="a: b\nc"
    )
    checkpoints.save(folder / "a.safetensors", network.state_dict(), header)
    exported = export(str(folder / "a.safetensors"), folder / out, to=to)
    assert (exported.difference, exported.sample_rate) == (0.0, 16000)
    return folder / out


@pytest.mark.parametrize(("model", "changes"), [*ASTEROID.items(), ("conv-tasnet", {"skip": 0, "mask_prelu": True})])
def test_asteroid_loads_what_is_exported(tmp_path: Path, model: str, changes: dict[str, Any]) -> None:
    path = exported_to("asteroid", model, tmp_path, "model.pth", **changes)
    content = torch.load(path, weights_only=True)
    assert content["model_args"]["sample_rate"] == 16000
    header = convert("auto", [path], tmp_path / "again.safetensors")
    assert header.config == field_values(checkpoints.load(tmp_path / "a.safetensors")[0].config)
    models = pytest.importorskip("asteroid.models", reason="asteroid is not installed")
    theirs, (ours, _) = models.BaseModel.from_pretrained(content).eval(), checkpoints.load(tmp_path / "a.safetensors")
    mixture = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.inference_mode():
        torch.testing.assert_close(theirs(mixture), ours(mixture), rtol=1e-4, atol=1e-6)


def test_a_setting_that_says_nothing_beside_a_skip_path_keeps_no_network_from_asteroid(tmp_path: Path) -> None:
    assert TINY["conv-tasnet"]["skip"]
    assert exported_to("asteroid", "conv-tasnet", tmp_path, "model.pth", mask_prelu=True).exists()


def test_speechbrain_loads_what_is_exported(tmp_path: Path) -> None:
    folder = exported_to("speechbrain", "sepformer", tmp_path, "sepformer")
    assert sorted(path.name for path in folder.iterdir()) == [
        "decoder.ckpt",
        "encoder.ckpt",
        "hyperparams.yaml",
        "masknet.ckpt",
    ]
    assert convert("auto", [folder], tmp_path / "again.safetensors").sample_rate == 16000
    inference = pytest.importorskip("speechbrain.inference.separation", reason="speechbrain is not installed")
    theirs = inference.SepformerSeparation.from_hparams(str(folder), savedir=str(tmp_path / "saved"))
    ours, _ = checkpoints.load(tmp_path / "a.safetensors")
    mixture = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.inference_mode():
        torch.testing.assert_close(theirs.separate_batch(mixture).mT, ours(mixture), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "layout", "settings"),
    [
        ("convtasnet_asteroid", CONV_TASNET, {"skip": 16, "blocks": 3, "repeats": 2, "bottleneck": 16}),
        ("dprnn_asteroid", DPRNN, {"features": 16, "window": 8, "hidden": 16, "blocks": 2, "bias": True}),
        ("sepformer", SEPFORMER, {"intra": 2, "inter": 2, "heads": 4, "feedforward": 64, "chunk": 50}),
    ],
)
def test_names_and_shapes_are_theirs(case: str, layout: Layout, settings: dict[str, Any]) -> None:
    theirs = state(fixture(case))
    filters = 16 if "dprnn" in case else 32
    hidden = {"hidden": 32} if "conv" in case else {}
    name = {"c": "conv-tasnet", "d": "dprnn", "s": "sepformer"}[case[0]]
    renamed = rename(build_model(name, settings | hidden | {"filters": filters}).state_dict(), layout)
    extra = {key for key in theirs if key not in renamed}
    assert all("pos_enc" in key or "TCN.5.res_conv" in key for key in extra), extra
    assert {key: value.shape for key, value in renamed.items()} == {key: theirs[key].shape for key in renamed}


@pytest.mark.parametrize(
    ("to", "model", "out", "said"),
    [
        ("asteroid", "dprnn", "a.pth", "bias is False; asteroid has a dprnn only with True"),
        ("asteroid", "galr", "a.pth", "asteroid has no galr that takes these weights; it has conv-tasnet, dprnn"),
        ("speechbrain", "dprnn", "a", "SpeechBrain has no dprnn that takes these weights"),
    ],
)
def test_what_other_toolkits_do_not_have_is_refused(tmp_path: Path, to: str, model: str, out: str, said: str) -> None:
    path = checkpoint(model, tmp_path)
    with pytest.raises(SeptoolError, match=f"cannot be exported: {said}"):
        export(str(path), tmp_path / out, to=to)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_destination_is_known_and_its_name_fits(tmp_path: Path) -> None:
    path = str(checkpoint("conv-tasnet", tmp_path))
    with pytest.raises(UsageError, match="did you mean 'asteroid'"):
        export(path, tmp_path / "a.pth", to="astroid")
    with pytest.raises(UsageError, match=r"output must end in \.pth or \.bin"):
        export(path, tmp_path / "a.onnx", to="asteroid")
    with pytest.raises(UsageError, match="SpeechBrain's weights are a folder"):
        export(path, tmp_path / "a.ckpt", to="speechbrain")
