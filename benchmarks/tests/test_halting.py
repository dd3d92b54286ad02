"""The schedule of benchmarks/halting.py is what runs."""

from dataclasses import replace

import pytest
import torch

from benchmarks.halting import SCHEDULES, STEPS, WAYS, Scheduled
from septool.models.papez import Config, Halting

SMALL = Config(width=16, feedforward=24, heads=4, chunk=20, memory=3)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("way", WAYS)
def test_as_many_tokens_run_as_the_schedule_says(name: str, way: Halting) -> None:
    torch.manual_seed(0)
    model = Scheduled(replace(SMALL, halting=way), SCHEDULES[name]).eval()
    mixture = torch.randn(1, 4000)
    assert model.active_fraction_per_step(mixture) == pytest.approx(SCHEDULES[name], abs=0.05)
    assert len(SCHEDULES[name]) <= STEPS
    with torch.inference_mode():
        assert torch.isfinite(model(mixture)).all()
