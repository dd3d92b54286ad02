"""Networks with LSTMs as ONNX graphs: equal outputs at any length, a node for each layer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from septool import checkpoints, workers
from septool.errors import InterruptedBySignal
from septool.inference.onnx_export import TOLERANCE, trace, write_graph
from septool.inference.onnx_layers import OnnxLSTM, with_onnx_layers
from septool.models.build import build_model
from septool.models.layers.norms import GlobalLayerNorm
from tests.models.tiny import TINY

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")


class Recurrent(nn.Module):
    """An LSTM over ``mixture [1, time]``, three samples a step."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, **settings)  # type: ignore[arg-type]

    def forward(self, mixture: Tensor) -> Tensor:
        steps = mixture[..., : mixture.shape[-1] // 3 * 3].unflatten(-1, (-1, 3))  # [1, step, 3]
        return self.lstm(steps if self.lstm.batch_first else steps.transpose(0, 1))[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_first": True, "bidirectional": True, "num_layers": 2},
        {"bias": False},
    ],
    ids=str,
)
def test_a_node_gives_what_torchs_lstm_does(settings: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Recurrent(**settings).eval()
    replaced = with_onnx_layers(network)
    assert isinstance(replaced.lstm, OnnxLSTM)
    assert isinstance(network.lstm, nn.LSTM)
    trace(replaced, "an LSTM").save(str(tmp_path / "a.onnx"))
    kinds = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    assert kinds.count("LSTM") == network.lstm.num_layers
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    for samples in (60, 301):
        mixture = torch.randn(1, samples)
        (given,) = session.run(None, {"mixture": mixture.numpy()})
        np.testing.assert_allclose(given, network(mixture).detach().numpy(), atol=1e-6)


class Normalized(nn.Module):
    """A norm over all of ``mixture [1, time]``, in steps of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = GlobalLayerNorm(64)

    def forward(self, mixture: Tensor) -> Tensor:
        return self.norm(mixture[..., : mixture.shape[-1] // 64 * 64].unflatten(-1, (-1, 64)))


def test_a_signal_that_the_exporter_takes_for_a_failure_of_its_own_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(nn.Module):
        def forward(self, mixture: Tensor) -> Tensor:
            workers.interrupt(15)
            return mixture

    monkeypatch.setattr(workers, "_signal", "")
    with pytest.raises(InterruptedBySignal, match="SIGTERM"):
        trace(Interrupted(), "galr")


def test_a_norm_over_a_long_recording_is_exact(tmp_path: Path) -> None:
    network = Normalized()
    nn.init.uniform_(network.norm.weight)
    nn.init.uniform_(network.norm.bias)
    trace(with_onnx_layers(network), "a norm").save(str(tmp_path / "a.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    mixture = torch.randn(1, 64 * 30_000) + 0.5
    (given,) = session.run(None, {"mixture": mixture.numpy()})
    expected = network.double()(mixture.double()).detach().numpy()  # LayerNormalization is 3e-5 off
    np.testing.assert_allclose(given, expected, atol=2e-6 * np.abs(expected).max())


def test_an_lstm_with_a_projection_stays() -> None:
    network = nn.Sequential(nn.LSTM(3, 5, proj_size=2))
    assert isinstance(with_onnx_layers(network)[0], nn.LSTM)  # type: ignore[index]


@pytest.mark.parametrize(
    ("model", "change"), [pytest.param("dprnn", {"blocks": 1}, marks=pytest.mark.slow), ("blstm-tasnet", {})]
)
def test_a_separator_with_lstms_has_a_graph(model: str, change: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = TINY[model] | change
    header = checkpoints.Header(model=model, config=config, sample_rate=8000, sources=2)
    checkpoints.save(tmp_path / "a.safetensors", build_model(model, config).state_dict(), header)
    _, difference = write_graph("a", tmp_path / "a.safetensors", tmp_path / "a.onnx")  # compares several lengths
    assert 0 < difference < TOLERANCE / 10
    assert "LSTM" in [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]


@pytest.mark.parametrize("halting", ["freeze", "drop"])
def test_a_papez_whose_tokens_halt_has_a_graph_that_gives_the_same(halting: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config: dict[str, Any] = TINY["papez"] | {"halting": halting}
    network: Any = build_model("papez", config).eval()
    with torch.no_grad():
        network.embed_out.weight[-1] *= 20  # so that some halt at once and others do not
    fractions = network.active_fraction_per_step(torch.randn(1, 4000))
    assert 0.2 < fractions[-1] < 0.8
    header = checkpoints.Header(model="papez", config=config, sample_rate=8000, sources=2)
    checkpoints.save(tmp_path / "a.safetensors", network.state_dict(), header)
    _, difference = write_graph("a", tmp_path / "a.safetensors", tmp_path / "a.onnx")
    assert difference < TOLERANCE / 10
