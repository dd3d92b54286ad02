"""GALR: the sizes of its Table 3, and what the systems of its Table 2 join."""

from dataclasses import replace

import pytest
import torch

from septool.errors import ConfigError
from septool.models.build import build_model
from septool.models.galr import CONFIGS, GALR, build_layers

# Counted from an independent sketch of the paper; the paper prints 1.5M and 2.3M.
PARAMETERS = {
    "d64-m16": 1_454_744,
    "d64-m8": 1_444_324,
    "d64-m4": 1_434_464,
    "d128-m16": 2_309_144,
    "d128-m8": 2_297_700,
    "d128-m4": 2_287_328,
}


@pytest.mark.parametrize("row", PARAMETERS)
def test_parameters_are_those_of_table_3(row: str) -> None:
    assert sum(p.numel() for p in GALR(CONFIGS[row]).parameters()) == PARAMETERS[row]


@pytest.mark.parametrize("row", ["d128-m16", "lstm-lstm", "attention-lstm", "attention-attention"])
def test_one_layer_works_within_segments_and_one_across_them(row: str) -> None:
    config = replace(CONFIGS[row], filters=8, segment=6, summary=3, hidden=4, heads=2)
    torch.manual_seed(0)
    within, across = (layer.eval() for layer in build_layers(config))
    x = torch.randn(1, 4, 6, 8)  # [B, S, K, D]
    changed = x.clone()
    changed[0, 2, 1, 0] += 1
    # The global norm moves everything a little; what a layer joins moves apart from that.
    within.norm, across.norm = torch.nn.Identity(), torch.nn.Identity()
    assert _moved(within, x, changed) == {(2, frame) for frame in range(6)}
    expected = {(segment, 1) for segment in range(4)}
    assert expected <= _moved(across, x, changed)
    if config.across == "lstm":
        assert _moved(across, x, changed) == expected


def _moved(layer: torch.nn.Module, x: torch.Tensor, changed: torch.Tensor) -> set[tuple[int, int]]:
    with torch.inference_mode():
        moved = (layer(x) - layer(changed)).abs().amax(-1)[0] > 1e-6
    return {(segment, frame) for segment, frame in moved.nonzero().tolist()}


def test_a_window_starts_every_half_of_it_or_every_stride() -> None:
    config = replace(CONFIGS["d128-m16"], filters=8, segment=6, summary=3, blocks=1, hidden=4, heads=2)
    for stride, hop in ((None, 8), (8, 8), (4, 4)):
        torch.manual_seed(0)
        model = GALR(replace(config, stride=stride)).eval()
        with torch.inference_mode(), model.record_states() as states:
            assert model(torch.randn(1, 160)).shape == (1, 2, 160)
        assert states[0].shape[1] >= (160 - 16) // hop + 1
        assert model.encoder(torch.randn(1, 160)).shape[1] == (160 - 16) // hop + 1
    with pytest.raises(ConfigError, match="stride is 17; windows of 16 samples start every 1 to 16 samples"):
        build_model("galr", {"window": 16, "stride": 17, "segment": 6, "summary": 3})
