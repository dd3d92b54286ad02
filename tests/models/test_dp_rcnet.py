"""DP-RCNet: the size of its Table 1, and stochastic depth."""

import pytest
import torch

from septool.models.dp_rcnet import CONFIGS, Config, DPRCNet, RecurrentPath


@pytest.mark.parametrize("row", CONFIGS)
def test_parameters(row: str) -> None:
    with torch.device("meta"):
        model = DPRCNet(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == 9_179_696  # the paper prints 9.2M


def test_stochastic_depth_leaves_whole_items_out_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    path = RecurrentPath(Config(hidden=4, scale=1.0), width=8, drop_rate=0.25)
    x = torch.randn(1, 2, 3, 8).expand(2000, -1, -1, -1)
    with torch.no_grad():
        full = path.eval()(x) - x
        kept = path.train()(x) - x
    gone = kept.flatten(1).abs().amax(1) == 0
    assert gone.float().mean() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(kept[~gone], full[~gone] / 0.75, rtol=1e-3, atol=1e-5)


def test_the_drop_rate_rises_from_the_first_block_to_the_last() -> None:
    with torch.device("meta"):
        model = DPRCNet()
    rates = [path.drop_rate for path in model.modules() if isinstance(path, RecurrentPath)]
    assert len(rates) == 36
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == pytest.approx((0.0, 0.1))


def test_stages_without_their_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="widths has 2 stages and blocks has 4"):
        Config(widths=(16, 32))
