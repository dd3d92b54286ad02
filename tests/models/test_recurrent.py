"""Recurrent layers in types that a processor has no form of."""

import pytest
import torch

from septool.models.layers import recurrent


@pytest.mark.parametrize("supported", [False, True])
def test_an_lstm_computes_under_autocast_on_any_processor(
    supported: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if supported and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no LSTM in bfloat16")
    monkeypatch.setattr(recurrent, "_has_bfloat16_lstm", lambda: supported)
    torch.manual_seed(0)
    layer = recurrent.BiLSTM(8, 16)
    x = torch.randn(2, 3, 50, 8)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x.to(torch.bfloat16))
        rough.square().mean().backward()
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.02 * exact.abs().max() + 0.01
    assert all(parameter.grad is not None for parameter in layer.parameters())
