"""A GALR with more blocks gives what it gave, and its new blocks learn."""

from dataclasses import replace
from typing import Any

import torch

from septool.models.galr import CONFIGS, GALR
from tests.models.tiny import TINY
from tools.add_blocks import add_blocks

CONFIG = replace(CONFIGS["d128-m16"], **TINY["galr"] | {"blocks": 2, "dropout": 0.0})


def test_a_deeper_network_gives_what_it_gave_and_its_new_blocks_learn() -> None:
    torch.manual_seed(0)
    model = GALR(CONFIG)
    weights, config = add_blocks(model.state_dict(), model.config, 5)
    assert config == replace(CONFIG, blocks=5)
    deeper: Any = GALR(config)
    deeper.load_state_dict(weights)
    mixture = torch.randn(2, 400)
    estimates = deeper(mixture)
    torch.testing.assert_close(estimates, model(mixture))
    (estimates - torch.randn(2, 2, 400)).square().sum().backward()
    gains = [block[0].norm.weight for block in deeper.blocks]
    new = [gain for gain in gains if not gain.any()]
    assert len(new) == 3
    assert gains[0].any()
    assert all(gain.grad is not None and gain.grad.any() for gain in new)
