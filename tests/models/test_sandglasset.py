"""Sandglasset: its published size, its re-sampling and its residuals."""

import pytest
import torch
from torch import nn

from septool.models.sandglasset import CONFIGS, Coarsen, Config, Refine, Sandglasset


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = Sandglasset(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == 2_297_089  # the paper prints 2.3M


@pytest.mark.parametrize("context", [1, 4])
def test_re_sampling_equals_depthwise_convolutions(context: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 5)
    for ours, kind in ((Coarsen(5, context), nn.Conv1d), (Refine(5, context), nn.ConvTranspose1d)):
        theirs = kind(5, 5, context, stride=context, groups=5)
        with torch.no_grad():
            theirs.weight.copy_(ours.weight.T[:, None])
            assert theirs.bias is not None
            theirs.bias.copy_(ours.bias)
            torch.testing.assert_close(ours(x), theirs(x.flatten(0, 1).mT).mT.unflatten(0, (2, 3)))


def test_blocks_of_the_same_granularity_are_joined() -> None:
    model = Sandglasset(Config(filters=8, features=8, segment=8, contexts=(1, 2, 2, 1), hidden=4, heads=2))
    model.blocks = nn.ModuleList(nn.Identity() for _ in range(4))
    # Outputs of the four blocks: x, x, x + x, 2 x + x.
    torch.testing.assert_close(model.apply_blocks(torch.ones(1, 2, 8, 8)), torch.full((1, 2, 8, 8), 3.0))


@pytest.mark.parametrize("wrong", [{"contexts": (1, 4)}, {"segment": 100}])
def test_settings_that_cannot_be_built_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)  # type: ignore[arg-type]
