"""Two-step TDCN: equal to the authors' code."""

import pytest
import torch
from torch.nn import functional as F

from septool.interop.authors import TWO_STEP_NAMES
from septool.models.layers.masks import FilterConvolution
from septool.models.two_step_tdcn import CONFIGS, Config, TwoStepTDCN
from tests.models.parity import assert_parity, fixture, load_converted

SMALL = {"filters": 16, "bottleneck": 16, "hidden": 32, "blocks": 3, "repeats": 2}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = TwoStepTDCN(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == 8_628_038


def test_equal_to_the_authors_code() -> None:
    tensors = fixture("two_step_tdcn")
    model = TwoStepTDCN(Config(**SMALL)).eval()
    load_converted(model, tensors, TWO_STEP_NAMES)
    assert_parity(model, tensors)


def test_the_ideal_masks_of_the_sources_add_up_to_one() -> None:
    torch.manual_seed(0)
    model = TwoStepTDCN(Config(**SMALL, sources=3)).eval()
    sources = torch.randn(2, 3, 205)
    with torch.inference_mode():
        total = model.ideal_latents(sources.sum(1), sources).sum(1)
        torch.testing.assert_close(total, model.encode(sources.sum(1)))


def test_the_product_is_a_convolution_along_the_filters() -> None:
    torch.manual_seed(0)
    layer = FilterConvolution(filters=12, sources=3)
    x = torch.randn(2, 5, 12)
    wanted = F.conv2d(x[:, None], layer.weight[:, None, None], layer.bias, padding=(0, 6)).transpose(1, 2)
    torch.testing.assert_close(layer(x), wanted)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel is 4"):
        Config(kernel=4)
