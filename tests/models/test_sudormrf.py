"""SuDoRM-RF: equal to the authors' code."""

import pytest
import torch
from torch.nn import functional as F

from septool.models.sudormrf import CONFIGS, Config, FilterConvolution, SuDoRMRF
from tests.models.parity import assert_parity, fixture, load_renamed

# The authors' code has 1,024 more, a normalisation that it never applies.
PARAMETERS = {"1.0x": 2_596_486 - 1_024}
NAMES = {
    "encoder.0": "encoder.basis",
    "decoder": "decoder.basis",
    "ln": "norm",
    "l1": "bottleneck",
    "reshape_before_masks": "widen",
    "m.": "mask.",
}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = SuDoRMRF(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def test_equal_to_the_authors_code() -> None:
    tensors = fixture("sudormrf")
    names = dict(NAMES)
    for i in range(2):
        theirs, ours = f"sm.{i}.", f"blocks.{i}."
        names |= {
            theirs + "proj_1x1.conv": ours + "expand.0",
            theirs + "proj_1x1.norm": ours + "expand.1",
            theirs + "proj_1x1.act": ours + "expand.2",
            theirs + "final_norm.norm": ours + "merge.0",
            theirs + "final_norm.act": ours + "merge.1",
            theirs + "conv_1x1_exp.conv": ours + "contract.0",
            theirs + "conv_1x1_exp.norm": ours + "contract.1",
            theirs + "module_act.norm": ours + "out.0",
            theirs + "module_act.act": ours + "out.1",
        }
        for level in range(3):
            names[f"{theirs}spp_dw.{level}.conv"] = f"{ours}levels.{level}.0"
            names[f"{theirs}spp_dw.{level}.norm"] = f"{ours}levels.{level}.1"
    model = SuDoRMRF(Config(filters=32, width=16, hidden=32, blocks=2, depth=3)).eval()
    load_renamed(model, tensors, names, drop=("ln_mask_in",))
    assert_parity(model, tensors)


def test_the_product_is_a_convolution_along_the_filters() -> None:
    torch.manual_seed(0)
    layer = FilterConvolution(filters=12, sources=3)
    x = torch.randn(2, 5, 12)
    wanted = F.conv2d(x[:, None], layer.weight[:, None, None], layer.bias, padding=(0, 6)).transpose(1, 2)
    torch.testing.assert_close(layer(x), wanted)
