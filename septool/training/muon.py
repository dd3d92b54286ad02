"""Muon, orthogonalizing in single precision on processors without fast bfloat16 products.

Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024) replaces the update of a matrix
by the nearest orthogonal one, found by Newton-Schulz iterations. torch computes those in bfloat16, which some
processors emulate: on one of them they took 2.7 s of a training step of 3.7 s, and take 0.1 s in single precision.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from septool.device import has_fast_bfloat16


class Muon(torch.optim.Muon):
    """:class:`torch.optim.Muon`, its learning rates adjusted to match AdamW's updates.

    The state is the same, so that a run can be resumed on the other kind of processor.
    """

    def __init__(self, matrices: Sequence[Tensor], lr: float, weight_decay: float) -> None:
        """Set up the optimizer.

        Args:
            matrices: ``[row, column]`` each.
            lr: learning rate that AdamW would have.
            weight_decay: decoupled weight decay, times the learning rate.
        """
        super().__init__(matrices, lr, weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the matrices by their gradients."""
        if closure is not None or has_fast_bfloat16(self.param_groups[0]["params"][0].device):
            return super().step(closure)
        for group in self.param_groups:
            weights: list[Tensor] = []
            gradients: list[Tensor] = []
            momenta: list[Tensor] = []
            self._init_group(group, weights, gradients, momenta)
            lr, momentum = group["lr"], group["momentum"]
            for weight, gradient, running in zip(weights, gradients, momenta, strict=True):
                running.lerp_(gradient, 1 - momentum)
                update = orthogonalize(
                    gradient.lerp(running, momentum), group["ns_coefficients"], group["ns_steps"], group["eps"]
                )
                weight.mul_(1 - lr * group["weight_decay"])
                weight.add_(update, alpha=-lr * 0.2 * math.sqrt(max(weight.shape)))
        return None


def orthogonalize(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Bring all singular values of a matrix ``[row, column]`` near one, in its own precision.

    Args:
        matrix: of any size; a zero matrix stays zero.
        coefficients: of the first, third and fifth power of the singular values in each iteration.
        steps: number of Newton-Schulz iterations.
        eps: lower bound of the norm that is divided by.

    Returns:
        ``[row, column]``, with the singular vectors of the matrix.
    """
    first, third, fifth = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # the Gram matrix of the shorter side is smaller
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), x, beta=first)
    return x.T if tall else x
