"""A Papez that is to learn to halt: at first no token does, before the last step."""

from typing import Any

import torch

from septool.models.papez import Config, Papez
from tests.models.tiny import TINY
from tools.start_halting import start_halting


def test_no_token_halts_before_the_last_step_from_which_nearly_all_of_the_output_is() -> None:
    torch.manual_seed(0)
    tiny: dict[str, Any] = TINY["papez"] | {"depth": 4, "width": 32, "halting": "none"}
    model = Papez(Config(**tiny)).eval()
    weights, config = start_halting(model.state_dict(), model.config, "freeze")
    tiny["halting"] = "freeze"
    assert config == Config(**tiny)
    halting = Papez(config).eval()
    halting.load_state_dict(weights)
    mixture = torch.randn(1, 400)
    assert halting.active_fraction_per_step(mixture) == [1.0] * 4
    with torch.no_grad(), halting.record_expected_steps() as steps:
        halting(mixture)
    assert 3.5 < steps[0].min() < steps[0].max() < 4
    model.load_state_dict(weights)  # the last channel alone makes the difference
    with torch.no_grad(), model.record_states() as states:
        tokens = halting.iterate(*halting.embed(halting.encode(mixture)))
        model.iterate(*model.embed(model.encode(mixture)))
    assert (tokens - states[-1]).norm() < 0.3 * states[-1].norm()
