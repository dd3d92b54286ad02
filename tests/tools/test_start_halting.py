"""A Papez that is to learn to halt: at first no token does, before the last step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from septool import checkpoints
from septool.models.papez import Config, Papez
from tests.models.tiny import TINY
from tools import start_halting as tool
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


def test_of_a_network_that_halts_only_the_way_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config: dict[str, Any] = TINY["papez"] | {"halting": "freeze"}
    model = Papez(Config(**config))
    header = checkpoints.Header(
        model="papez", config=config, sample_rate=8000, sources=2, steps=7, measured={"si_snri": 1.0}
    )
    files = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    checkpoints.save(files[0], model.state_dict(), header)
    monkeypatch.setattr("sys.argv", ["start_halting", *map(str, files), "--halting", "drop"])
    assert tool.main() == 0
    changed, said = checkpoints.load(files[1], Papez)
    assert changed.config == replace(model.config, halting="drop")
    assert (said.steps, said.measured) == (7, {})  # the training is still what it was, the scores are not
    for name, value in model.state_dict().items():
        assert torch.equal(changed.state_dict()[name], value)
