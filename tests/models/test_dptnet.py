"""DPTNet: equal to the authors' code."""

from typing import Literal

import pytest
import torch

from septool.models.dptnet import CONFIGS, Config, DPTNet, ImprovedTransformer
from tests.models.parity import assert_parity, fixture, load_released

PARAMETERS = {"stride1": 2_834_945, "stride8": 2_811_009}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = DPTNet(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def test_equal_to_the_authors_code() -> None:
    tensors = fixture("dptnet")
    model = DPTNet(Config(filters=32, features=16, window=8, chunk=20, blocks=2, hidden=16)).eval()
    load_released(model, tensors, "ujscjj-dptnet")
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
