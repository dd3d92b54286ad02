"""Optimizers, learning-rate schedules, and averages of weights."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from septool.config import JsonDict
from septool.training.muon import Muon
from septool.training.recipe import Optimizer, Schedule


def make_optimizers(model: nn.Module, settings: Optimizer) -> list[torch.optim.Optimizer]:
    """Build the optimizers of a recipe, which together update every weight once."""
    lr, decay, betas, eps = settings.lr, settings.weight_decay, settings.betas, settings.eps
    if settings.name == "adam":
        return [torch.optim.Adam(model.parameters(), lr, betas, eps, weight_decay=decay)]
    if settings.name == "adamw":
        return [torch.optim.AdamW(model.parameters(), lr, betas, eps, weight_decay=decay)]
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
        Muon(matrices, lr, decay),
        torch.optim.AdamW(others, lr, betas, eps, weight_decay=decay),
    ]


def learning_rate_factor(schedule: Schedule, *, step: int, epoch: int, steps: int, plateau_scale: float) -> float:
    """Return the factor on the base learning rate at a step of a run of ``steps``."""
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    match schedule.name:
        case "exponential":
            first = min(epoch, schedule.turn) if schedule.turn else epoch
            scale = schedule.factor ** (max(first - schedule.start, 0) // schedule.every)
            return warm * scale * schedule.later_factor ** ((epoch - first) // schedule.every)
        case "plateau":
            return warm * plateau_scale
        case "cosine":
            done = max(step - schedule.warmup, 0) / max(steps - schedule.warmup, 1)
            return warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        case "trapezoid":
            return warm * min(1.0, max(steps - step, 0) / schedule.decay) if schedule.decay else warm
        case _:
            return warm


def restore_optimizer(optimizer: torch.optim.Optimizer, state: JsonDict) -> None:
    """Load an optimizer's state, but keep its own settings."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, setting in zip(optimizer.param_groups, settings, strict=True):
        group.update(setting)


class MovingAverage:
    """An exponential moving average of a model's weights, by the rule of :mod:`torch.optim.swa_utils`.

    Its ``AveragedModel`` is not used: it copies only buffers of equal shape, whereas the position tables of some
    networks grow with the input, and it starts from the weights after the first step instead of those before it.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, step: int) -> None:
        """Update the average with the weights after step ``step``; integer buffers (counters) are copied."""
        # The decay rises from 0.1, so that the initial weights are forgotten quickly.
        decay = min(self.decay, (1 + step) / (10 + step))
        current = self.model.state_dict()
        floats = [name for name, value in current.items() if value.is_floating_point()]
        get_ema_multi_avg_fn(decay)([self.weights[name] for name in floats], [current[name] for name in floats], step)
        for name in current.keys() - floats:
            self.weights[name].copy_(current[name])


def mean_weights(several: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Average the weights of several checkpoints of one model; integer buffers are those of the last one.

    The sum is in double precision: the running mean of ``torch.optim.swa_utils`` rounds at every checkpoint, and its
    result depends on their order.
    """
    mean = {}
    for name, last in several[-1].items():
        values = [weights[name] for weights in several]
        mean[name] = torch.stack(values).double().mean(0).to(last.dtype) if last.is_floating_point() else last
    return mean
