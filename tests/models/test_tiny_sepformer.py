"""Tiny-SepFormer: the two published sizes, and the sharing of layers."""

import pytest
import torch
from torch import nn

from septool.models.tiny_sepformer import CONFIGS, Config, ConvolutionAttention, TinySepFormer, Transformer

PARAMETERS = {"paper": 19_932_673, "small": 5_288_449}  # printed: 20.0M and 5.3M


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = TinySepFormer(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[row]


def test_a_shared_layer_equals_copies_of_it() -> None:
    torch.manual_seed(0)
    small = {"filters": 16, "layers": 4, "heads": 2, "feedforward": 24}
    shared = Transformer(Config(**small, sharing=2)).eval()
    apart = Transformer(Config(**small)).eval()
    for index, layer in enumerate(apart.layers):
        layer.load_state_dict(shared.layers[index // 2].state_dict())
    x = torch.randn(1, 2, 5, 16)
    with torch.inference_mode():
        torch.testing.assert_close(shared(x), apart(x), rtol=0, atol=0)


def test_only_the_convolved_half_is_local() -> None:
    torch.manual_seed(0)
    layer = ConvolutionAttention(Config(filters=8, heads=2, feedforward=8)).eval()
    nn.init.zeros_(layer.contract.weight)  # the feed-forward network would mix the halves
    x = torch.randn(1, 1, 12, 8)
    changed = x.clone()
    changed[0, 0, 6] += torch.randn(8)
    with torch.inference_mode():
        moved = (layer(changed) - layer(x))[0, 0].abs() > 1e-7
    attended, convolved = moved.split(4, dim=-1)
    assert attended.all()
    assert convolved.any(dim=-1).nonzero().flatten().tolist() == [5, 6, 7]


@pytest.mark.parametrize("wrong", [{"sharing": 3}, {"filters": 255}, {"kernel": 4}])
def test_settings_that_cannot_be_built_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
