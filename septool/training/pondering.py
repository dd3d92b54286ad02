"""The ponder cost: what a network whose tokens halt pays for each step that a token takes (Graves, 2016).

Papez's paper has none: its tokens learn by the loss alone when to halt. A cost of many steps is what makes a network
halt that has learned without halting, and it sets how much speed is worth.
"""

from typing import Any

import torch
from torch import Tensor

from septool.errors import UsageError
from septool.models.base import AdaptiveCompute, Separator
from septool.models.build import adaptive_models
from septool.training.recipe import Pondering


class PonderCost:
    """The cost of the steps that a separator's tokens take."""

    def __init__(self, settings: Pondering, model: Separator[Any]) -> None:
        """Ask for the steps of a model.

        Raises:
            UsageError: its tokens do not halt.
        """
        if not isinstance(model, AdaptiveCompute) or not model.halts:
            fitting = " or ".join(f"a {name} that is trained with halting" for name in adaptive_models())
            raise UsageError(f"pondering.cost takes {fitting}")
        self.cost, self.record_steps = settings.cost, model.record_expected_steps

    def loss(self, steps: list[Tensor]) -> Tensor:
        """Return the cost of the steps of each pass, ``[batch, token]``, over all of them: a number of dB."""
        return self.cost * torch.cat([of_pass.flatten() for of_pass in steps]).mean()
