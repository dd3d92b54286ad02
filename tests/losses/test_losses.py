"""Every loss says what it computes."""

from septool.losses import EQUATIONS, LOSSES
from septool.models import MODELS


def test_every_loss_has_its_equation() -> None:
    assert set(EQUATIONS) == set(LOSSES)


def test_every_model_names_a_loss_that_exists() -> None:
    assert {MODELS[name].loss for name in MODELS} <= set(LOSSES)
