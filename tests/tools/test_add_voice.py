"""A separator with a voice more gives those it gave, and their mean, and all of them learn."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from septool.models.build import build_model
from septool.signal import frames
from tests.models.tiny import TINY
from tools.add_voice import add_voice


@pytest.mark.parametrize("name", ["galr", "dprnn"])
def test_a_new_voice_is_the_mean_of_the_others_and_they_stay(name: str) -> None:
    torch.manual_seed(0)
    model: Any = build_model(name, TINY[name])
    weights = add_voice(model.state_dict(), model.sources)
    config = replace(model.config, sources=model.sources + 1)
    wider: Any = type(model)(config)
    wider.load_state_dict(weights)
    segments = torch.randn(1, 6, 4, model.split.linear.in_features)
    old, new = (each.split(segments, 10, frames.Padding(2, 2)) for each in (model, wider))
    torch.testing.assert_close(new[:, :-1], old)
    torch.testing.assert_close(new[:, -1], old.mean(1))
    estimates = wider(torch.randn(2, 400))
    assert estimates.shape == (2, model.sources + 1, 400)
    (estimates - torch.randn_like(estimates)).square().sum().backward()
    assert wider.split.linear.weight.grad.unflatten(0, (config.sources, -1)).abs().sum((1, 2)).gt(0).all()
