"""Knowledge distillation: a separator's states between its blocks are drawn towards those of a teacher.

As in FitNets (Romero et al., ICLR 2015), but the map from the student's states to the teacher's is not learned: it is
the least-squares one of every batch, so that it has no weights that would have to be trained and kept. The loss is the
share of the variance of the teacher's states that the student's do not explain, as in the similarity indices of
Kornblith et al. (ICML 2019).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from septool import catalogue, checkpoints
from septool.errors import UsageError
from septool.models.base import Separator
from septool.training.recipe import Distillation

RIDGE = 0.02  # of the least-squares map, relative to the variance of a state
EPS = 1e-4  # kept from the standard deviation of a channel that does not move


@runtime_checkable
class RecordsStates(Protocol):
    """A separator whose states between blocks can be looked at."""

    @property
    def stride(self) -> int:
        """Samples between two frames."""
        ...

    def record_states(self) -> AbstractContextManager[list[Tensor]]:
        """Collect the states of each forward pass in the context, ``[batch, frame, channel]`` each, in order."""
        ...


class Teacher:
    """A trained separator that another one learns from."""

    def __init__(self, settings: Distillation, student: Separator[Any], device: torch.device) -> None:
        """Load it.

        Raises:
            UsageError: teacher or student does not show its states, or their frames are not the same.
            CheckpointError: it is missing or damaged.
        """
        assert settings.teacher is not None
        self.name, self.weight = settings.teacher, settings.weight
        network, _ = checkpoints.load(catalogue.resolve_checkpoint(settings.teacher)[1])
        for each, role in ((network, f"the teacher {self.name}"), (student, "the model")):
            if not isinstance(each, RecordsStates):
                raise UsageError(f"{role} does not show the states that distillation compares")
        assert isinstance(network, RecordsStates)
        assert isinstance(student, RecordsStates)
        if network.stride != student.stride:
            raise UsageError(
                f"the teacher {self.name} has a frame every {network.stride} samples, the model every "
                f"{student.stride}; distillation compares them frame by frame"
            )
        self.network = network.to(device).eval().requires_grad_(False)

    @staticmethod
    def watch(student: Separator[Any]) -> AbstractContextManager[list[Tensor]]:
        """Return the context in which the student's states are collected."""
        assert isinstance(student, RecordsStates)
        return student.record_states()

    def loss(self, mixture: Tensor, states: Sequence[Tensor]) -> Tensor:
        """Return the weighted distillation loss of a batch, a number.

        Args:
            mixture: ``[batch, time]``, at the model's level.
            states: the student's, ``[batch, frame, channel]`` each; those of teacher and student are paired in order.
        """
        with torch.no_grad(), self.network.record_states() as targets:
            self.network(mixture)
        last = len(states) / len(targets)
        pairs = [(states[round((place + 1) * last) - 1], target) for place, target in enumerate(targets)]
        return self.weight * torch.stack([unexplained_variance(*pair) for pair in pairs]).mean()


def unexplained_variance(states: Tensor, targets: Tensor) -> Tensor:
    """Return the share of the variance of targets that a linear map of states does not explain, from 0 to 1.

    Args:
        states: ``[batch, frame, channel]``.
        targets: ``[batch, frame, other channel]``, as many frames or more, of which the first count.
    """
    with torch.autocast(states.device.type, enabled=False):
        given = _standardize(states.flatten(0, 1))
        wanted = _standardize(targets[:, : states.shape[1]].flatten(0, 1))
        covariance = given.T @ given / len(given)
        ridge = RIDGE * torch.eye(len(covariance), device=covariance.device)
        weights = torch.linalg.solve(covariance + ridge, given.T @ wanted / len(given))
        return (given @ weights - wanted).square().mean()


def _standardize(values: Tensor) -> Tensor:
    """Bring each channel of ``[row, channel]`` to mean 0 and variance 1, in float32."""
    values = values.float()
    deviation, mean = torch.std_mean(values, dim=0, correction=0)
    return (values - mean) / (deviation + EPS)
