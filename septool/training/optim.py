"""How weights move: optimisers, the learning rate's schedule, and the averaged weights."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from septool.training.recipe import Optimizer, Schedule


def optimizers(model: nn.Module, how: Optimizer) -> list[torch.optim.Optimizer]:
    """Build what a recipe's optimiser consists of; between them they move every weight once."""
    lr, decay, betas = how.lr, how.weight_decay, how.betas
    if how.name == "adam":
        return [torch.optim.Adam(model.parameters(), lr, betas, weight_decay=decay)]
    if how.name == "adamw":
        return [torch.optim.AdamW(model.parameters(), lr, betas, weight_decay=decay)]
    matrices = [
        weight
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.RNNBase)
        for name, weight in module.named_parameters(recurse=False)
        if name.startswith("weight")
    ]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    return [
        torch.optim.Muon(matrices, lr, decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr, betas, weight_decay=decay),
    ]


def learning_rate(schedule: Schedule, *, step: int, epoch: int, steps: int, plateau_scale: float) -> float:
    """Return the factor on the base learning rate at a step."""
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    match schedule.name:
        case "exponential":
            first = min(epoch, schedule.turn) if schedule.turn else epoch
            scale = schedule.factor ** (max(first - schedule.start, 0) // schedule.every)
            return warm * scale * schedule.later_factor ** ((epoch - first) // schedule.every)
        case "plateau":
            return warm * plateau_scale
        case "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
        case "trapezoid":
            return warm * min(1.0, max(steps - step, 0) / schedule.decay) if schedule.decay else warm
        case _:
            return warm


def restore(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state; its settings stay those that it was made with."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


class MovingAverage:
    """An exponential moving average of a model's weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, step: int) -> None:
        """Take in the weights after step ``step``."""
        # The average starts as the plain mean of what there is, so early weights do not linger.
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)


def mean_weights(several: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average the weights of several checkpoints of one model; what is not a float is the last one's."""
    mean = {}
    for name, last in several[-1].items():
        values = [weights[name] for weights in several]
        mean[name] = torch.stack(values).double().mean(0).to(last.dtype) if last.is_floating_point() else last
    return mean
