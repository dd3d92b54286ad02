"""SuDoRM-RF: equal to the authors' code."""

import pytest
import torch
from torch.nn import functional as F

from septool.interop.authors import SUDORMRF_NAMES
from septool.models.layers.masks import FilterConvolution
from septool.models.sudormrf import CONFIGS, Config, SuDoRMRF
from tests.models.parity import assert_parity, fixture, load_converted

# The authors' code has 1,024 more, a normalization that it never applies.
PARAMETERS = {"1.0x": 2_596_486 - 1_024}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = SuDoRMRF(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def test_equal_to_the_authors_code() -> None:
    tensors = fixture("sudormrf")
    model = SuDoRMRF(Config(filters=32, width=16, hidden=32, blocks=2, depth=3)).eval()
    load_converted(model, tensors, SUDORMRF_NAMES)
    assert_parity(model, tensors)


def test_the_product_is_a_convolution_along_the_filters() -> None:
    torch.manual_seed(0)
    layer = FilterConvolution(filters=12, sources=3)
    x = torch.randn(2, 5, 12)
    wanted = F.conv2d(x[:, None], layer.weight[:, None, None], layer.bias, padding=(0, 6)).transpose(1, 2)
    torch.testing.assert_close(layer(x), wanted)
