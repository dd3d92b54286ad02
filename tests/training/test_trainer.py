"""The trainer against a plain loop written out here: the same weights, to the last bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from septool.losses import LOSSES
from septool.models.build import build_model
from septool.signal.levels import model_gain
from septool.training.data import load_micro_batches
from septool.training.recipe import Recipe
from septool.training.trainer import Trainer
from tests.training.runs import ALONE, recipe


def plain_loop(chosen: Recipe, batches: list[list[torch.Tensor]]) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Train by the textbook; return the model and the moving average of its weights."""
    torch.manual_seed(chosen.seed)
    model = build_model(chosen.model, chosen.config, chosen.variant)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=chosen.optimizer.lr)
    loss = LOSSES[model.loss]
    for step, micro_batches in enumerate(batches):
        torch.manual_seed(int(np.random.SeedSequence([chosen.seed, step, 0]).generate_state(1, np.uint64)[0]))
        optimizer.zero_grad()
        for parts in micro_batches:
            scaled = parts * model_gain(parts.sum(1))[:, None]
            (loss(model, scaled.sum(1), scaled).sum() / chosen.loop.batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), chosen.optimizer.clip)
        optimizer.step()
        decay = min(chosen.loop.ema, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            average[name] = torch.lerp(average[name], value, 1 - decay)
    return model, average


@pytest.mark.parametrize("changes", [{}, {"model": "conv-tasnet", "loop": {"batch": 4, "accumulation_steps": 2}}])
def test_steps_are_those_of_a_plain_loop(manifests: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    chosen = recipe(manifests, **changes)
    trainer = Trainer(chosen, tmp_path, ALONE)
    loaded = load_micro_batches(
        trainer.role.training_set(0), range(4), accumulation_steps=chosen.loop.accumulation_steps
    )
    batches: Any = list(loaded)
    for micro_batches in batches:
        trainer.step(*micro_batches)
    model, average = plain_loop(chosen, batches)
    for name, value in model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name
        assert torch.equal(average[name], trainer.state.weights[name]), name
