"""``septool models export``: files that ONNX Runtime reads, equal to the checkpoint, or none."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import checkpoints
from septool.errors import CheckpointError, SeptoolError, UsageError
from septool.inference.level import separate_at_model_level
from septool.models.build import build_model
from septool.tasks import export as exporting
from septool.tasks.export import export
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

    class Runtime:
        @staticmethod
        def InferenceSession(path: str, providers: list[str]) -> Any:  # noqa: N802 - as ONNX Runtime has it
            return type("Session", (), {"run": lambda self, _, given: [2 * given["mixture"][:, None].repeat(2, 1)]})()

    monkeypatch.setattr(exporting, "_runtime", lambda: Runtime)
    monkeypatch.setattr(exporting, "_graph", lambda *_: Graph())
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
    with pytest.raises(UsageError, match=r"a\.bin would not be taken for a network; its name has to end in \.onnx"):
        export("galr", tmp_path / "a.bin")
    monkeypatch.setattr(exporting, "_runtime", lambda: None)
    with pytest.raises(CheckpointError, match="is a galr-extractor, which does not separate"):
        export("galr-extractor", tmp_path / "a.onnx")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        UsageError, match=r"onnxruntime is not installed; install it with: pip install 'septool\[onnx\]'"
    ):
        export("galr", tmp_path / "a.onnx")
