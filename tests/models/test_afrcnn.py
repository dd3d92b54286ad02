"""A-FRCNN: equal to the authors' code, in both ways of taking in neighbors."""

import pytest
import torch
from torch.nn import functional as F

from septool.models.afrcnn import AFRCNN, CONFIGS, Concat, Config
from tests.models.parity import assert_parity, fixture, load_released

PARAMETERS = {"16": 6_134_793, "16-sum": 1_739_785}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = AFRCNN(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("afrcnn", Config(filters=32, width=16, hidden=16, stages=3, iterations=3)),
        ("afrcnn_sum", Config(filters=32, width=16, hidden=32, stages=3, iterations=3, fusion="sum")),
    ],
)
def test_equal_to_the_authors_code(name: str, config: Config) -> None:
    tensors = fixture(name)
    model = AFRCNN(config).eval()
    load_released(model, tensors, "jusperlee-afrcnn")
    assert_parity(model, tensors)


def test_stages_may_be_convolved_before_they_are_stretched() -> None:
    torch.manual_seed(0)
    layer = Concat(3, channels=4)
    stages = [torch.randn(2, 4, frames) for frames in (8, 4, 2)]
    wanted = layer.conv(torch.cat([F.interpolate(x, size=8) for x in stages], dim=1))
    torch.testing.assert_close(layer(stages), wanted)
