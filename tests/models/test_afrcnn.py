"""A-FRCNN: equal to the authors' code, in both ways of taking in neighbours."""

import pytest
import torch
from torch.nn import functional as F

from septool.models.afrcnn import AFRCNN, CONFIGS, Concat, Config
from tests.models.parity import assert_parity, fixture, load_renamed

PARAMETERS = {"16": 6_134_793, "16-sum": 1_739_785}
NORM = {"gamma": "weight", "beta": "bias"}


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = AFRCNN(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def names(block: str) -> dict[str, str]:
    """Our names for theirs, where a convolution, a norm and a slope follow each other."""
    layers = {
        "proj_1x1": ("expand.0", "expand.1", "expand.2"),
        "last_layer.0": ("join.0.conv", "join.1", "join.2"),
    }
    for stage in range(3):
        layers[f"spp_dw.{stage}"] = (f"climb.{stage}.0", f"climb.{stage}.1", "")
        layers[f"fuse_layers.{stage}.0"] = (f"bottom_up.{stage - 1}.0", f"bottom_up.{stage - 1}.1", "")
        layers[f"concat_layer.{stage}"] = (f"fuse.{stage}.0.conv", f"fuse.{stage}.1", f"fuse.{stage}.2")
    mapped = {
        "encoder": "encoder.basis",
        "decoder": "decoder.basis",
        "ln.gamma": "norm.weight",
        "ln.beta": "norm.bias",
        "bottleneck": "bottleneck",
        "mask_net": "mask",
        "sm.concat_block": "remind",
        f"sm.{block}.res_conv": "block.contract",
    }
    for theirs, (conv, norm, slope) in layers.items():
        mapped[f"sm.{block}.{theirs}.conv"] = f"block.{conv}"
        mapped[f"sm.{block}.{theirs}.act"] = f"block.{slope}"
        for their_half, our_half in NORM.items():
            mapped[f"sm.{block}.{theirs}.norm.{their_half}"] = f"block.{norm}.{our_half}"
    return mapped


@pytest.mark.parametrize(
    ("name", "block", "config"),
    [
        ("afrcnn", "blocks", Config(filters=32, width=16, hidden=16, stages=3, iterations=3)),
        ("afrcnn_sum", "block", Config(filters=32, width=16, hidden=32, stages=3, iterations=3, fusion="sum")),
    ],
)
def test_equal_to_the_authors_code(name: str, block: str, config: Config) -> None:
    tensors = fixture(name)
    model = AFRCNN(config).eval()
    load_renamed(model, tensors, names(block))
    assert_parity(model, tensors)


def test_stages_may_be_convolved_before_they_are_stretched() -> None:
    torch.manual_seed(0)
    layer = Concat(3, channels=4)
    stages = [torch.randn(2, 4, frames) for frames in (8, 4, 2)]
    wanted = layer.conv(torch.cat([F.interpolate(x, size=8) for x in stages], dim=1))
    torch.testing.assert_close(layer(stages), wanted)
