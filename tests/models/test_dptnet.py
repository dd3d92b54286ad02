"""DPTNet: equal to the authors' code."""

from typing import Literal

import pytest
import torch

from septool.models.dptnet import CONFIGS, Config, DPTNet, ImprovedTransformer
from tests.models.parity import assert_parity, fixture, load_renamed

PARAMETERS = {"stride1": 2_834_945, "stride8": 2_811_009}
NAMES = {
    "encoder.conv1d_U": "encoder.basis",
    "enc_LN": "norm",
    "separator.BN": "linear",
    "separator.DPT.output.0": "activation",
    "separator.DPT.output.1": "split.linear",
    "separator.output.0": "mask.tanh",
    "separator.output_gate.0": "mask.sigmoid",
    "mask_conv1x1": "mask.relu",
    "decoder.basis_signals": "decoder.basis",
}
for block in range(2):
    for theirs, path in (("row", "intra"), ("col", "inter")):
        stem, ours = f"separator.DPT.{theirs}_transformer.{block}.transformer.", f"blocks.{block}.{path}."
        NAMES[stem] = ours
        NAMES[f"{stem}self_attn.in_proj_"] = f"{ours}attention.qkv."
        NAMES[f"{stem}self_attn.out_proj"] = f"{ours}attention.out"


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = DPTNet(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def test_equal_to_the_authors_code() -> None:
    tensors = fixture("dptnet")
    basis = "sd.m.decoder.basis_signals.weight"
    tensors[basis] = tensors[basis].T  # a linear layer there: [window, filter]
    model = DPTNet(Config(filters=32, features=16, window=8, chunk=20, blocks=2, hidden=16)).eval()
    load_renamed(model, tensors, NAMES)
    assert_parity(model, tensors, covered=lambda samples: (samples - 8) // 4 * 4 + 8)


@pytest.mark.parametrize(("norm", "axes"), [("position", (-1,)), ("sequence", (-2, -1))])
def test_what_shares_mean_and_variance(norm: Literal["position", "sequence"], axes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = ImprovedTransformer(Config(features=16, hidden=8, norm=norm))
    y = layer(torch.randn(2, 3, 20, 16))
    means, deviations = y.mean(axes), y.std(axes, unbiased=False)
    torch.testing.assert_close(means, torch.zeros_like(means), rtol=0, atol=1e-5)
    torch.testing.assert_close(deviations, torch.ones_like(deviations), rtol=0, atol=1e-3)
    if norm == "sequence":
        assert y.mean(-1).abs().max() > 0.01
