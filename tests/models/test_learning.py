"""Every model learns by its own loss: 200 steps on eight fixed mixtures of real speech."""

from pathlib import Path

import pytest
import torch

from benchmarks.learning import NETWORKS, learn

TABLE = Path(__file__).parents[2] / "benchmarks" / "learning.md"


def stated(name: str) -> float:
    """By how much the committed table says that the loss falls."""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == name:
            return float(cells[-1])
    pytest.fail(f"{TABLE.name} has no row for {name}; run python -m benchmarks.learning")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_loss_falls_by_at_least_half_of_what_the_table_states(name: str) -> None:
    torch.set_num_threads(1)
    before, after = learn(name)
    assert stated(name) > 0
    assert before - after > stated(name) / 2
