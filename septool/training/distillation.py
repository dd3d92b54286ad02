"""Knowledge distillation: a separator's states between its blocks are drawn to those of a teacher, frame by frame.

As in FitNets (Romero et al., ICLR 2015), but without a learned map between them: the first channels of the student's
states are to be the teacher's, brought to mean 0 and variance 1. A student that starts from nothing can arrange its
channels as it likes, and nothing more has to be trained and kept. It has at least as many channels.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from septool import catalogue, checkpoints
from septool.errors import UsageError
from septool.models.base import Separator
from septool.models.layers.codec import Encoder
from septool.training.recipe import Distillation

EPS = 1e-4  # beside the standard deviation of a channel that does not move


@runtime_checkable
class RecordsStates(Protocol):
    """A separator whose states between blocks can be looked at."""

    encoder: Encoder

    def record_states(self) -> AbstractContextManager[list[Tensor]]:
        """Collect the states of each forward pass in the context, ``[batch, frame, channel]`` each, in order."""
        ...


class Teacher:
    """A trained separator that another one learns from."""

    def __init__(self, settings: Distillation, student: Separator[Any], rate: int, device: torch.device) -> None:
        """Load it.

        Args:
            settings: which one.
            student: who learns.
            rate: Hz of what both hear.
            device: where the student is.

        Raises:
            UsageError: teacher or student does not show its states, or their rates or frames are not the same.
            CheckpointError: it is missing or damaged.
        """
        assert settings.teacher is not None
        self.name, self.weight = settings.teacher, settings.weight
        network, header = checkpoints.load(catalogue.resolve_checkpoint(settings.teacher)[1])
        if header.sample_rate != rate:
            raise UsageError(f"the teacher {self.name} hears {header.sample_rate} Hz, data.sample_rate is {rate}")
        taught, teaching = _recording(student, "the model"), _recording(network, f"the teacher {self.name}")
        hop, own = teaching.encoder.hop, taught.encoder.hop
        if hop % own:
            raise UsageError(
                f"the teacher {self.name} has a frame every {hop} samples, the model every {own}; "
                "distillation takes a model with as many frames, or a multiple"
            )
        self.frames = hop // own  # student frames per teacher frame
        # The student's frame with the center of the teacher's first.
        self.first = max(teaching.encoder.window - taught.encoder.window, 0) // 2 // own
        self.network: Any = network.to(device).eval().requires_grad_(False)
        self.record_student = taught.record_states

    def loss(self, mixture: Tensor, states: Sequence[Tensor]) -> Tensor:
        """Return the weighted distillation loss of a batch, a number.

        Args:
            mixture: ``[batch, time]``, at the model's level.
            states: the student's, ``[batch, frame, channel]`` each. The last ones are a pair; of whom has more of them,
                those in between are as many as the other has.
        """
        with torch.no_grad(), self.network.record_states() as targets:
            self.network(mixture)
        if targets[0].shape[-1] > states[0].shape[-1]:
            raise UsageError(
                f"the states of the teacher {self.name} have {targets[0].shape[-1]} channels, the model's "
                f"{states[0].shape[-1]}; distillation takes a model with as many or more"
            )
        pairs = zip(_spread(states, len(targets)), _spread(targets, len(states)), strict=True)
        distances = [distance(state[:, self.first :: self.frames], target) for state, target in pairs]
        return self.weight * torch.stack(distances).mean()


def _recording(network: Separator[Any], role: str) -> RecordsStates:
    """Refuse a network whose states cannot be looked at."""
    if not isinstance(network, RecordsStates):
        raise UsageError(f"{role} does not show the states that distillation compares")
    return network


def _spread(states: Sequence[Tensor], most: int) -> list[Tensor]:
    """Return at most so many of a network's states, evenly spaced, the last one among them."""
    count = min(len(states), most)
    return [states[round((index + 1) * len(states) / count) - 1] for index in range(count)]


def distance(states: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of states, 1 if they are all 0, where targets have a variance of 1.

    Args:
        states: ``[batch, frame, channel]``.
        targets: ``[batch, frame, channel]``, perhaps with fewer channels. The frames that both have count.
    """
    count = min(states.shape[1], targets.shape[1])
    states, targets = states[:, :count].float(), targets[:, :count].float()
    deviation, mean = torch.std_mean(targets, dim=(0, 1), correction=0)
    return (states[..., : targets.shape[-1]] - (targets - mean) / (deviation + EPS)).square().mean()
