"""Every model learns by its own loss: 200 steps on eight fixed mixtures of real speech."""

from pathlib import Path

import pytest
import torch

from septool.losses import LOSSES
from septool.models import MODELS
from tests.models.learning import CASES, WITHOUT_TRAINING, learn

TABLE = Path(__file__).with_name("learning.md")


def stated(name: str) -> float:
    """By how much the committed table says that the loss falls."""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == name:
            return float(cells[-1])
    pytest.fail(f"{TABLE.name} has no row for {name}; run python -m tests.models.learning")


def test_every_model_and_every_loss_has_a_line() -> None:
    assert {case.model for case in CASES.values()} == set(MODELS) - WITHOUT_TRAINING
    assert all(stated(name) > 0 for name in CASES)
    assert {case.loss or MODELS[case.model].loss for case in CASES.values()} == set(LOSSES)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
def test_the_loss_falls_by_at_least_half_of_what_the_table_states(name: str) -> None:
    torch.set_num_threads(1)
    _, before, after = learn(name)
    assert before - after > stated(name) / 2
