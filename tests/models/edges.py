"""Whether the ends of a recording are read, and answered: gradients between its outermost samples."""

from collections.abc import Callable

import torch
from torch import Tensor

EDGE = 3  # samples at either end that are looked at
LENGTHS = (201, 203, 206, 207, 209)  # multiples of no hop of the tiny models
TAKES = 3  # mixtures for each of these outputs: a rectified mask may be zero in one


def edge_gradients(run: Callable[[Tensor], Tensor], samples: int) -> Tensor:
    """Return how much the outermost outputs move with the outermost inputs of the same end.

    Args:
        run: maps ``[batch, time]`` to ``[batch, ..., time]``, its items independent of each other.
        samples: length of the mixtures.

    Returns:
        Gradients ``[end, output, input]``, each the largest in several mixtures, as a share of the largest
        with respect to any sample; the first end is the beginning, the first output and input the outermost.
    """
    mixtures = torch.randn(2 * EDGE * TAKES, samples, generator=torch.Generator().manual_seed(samples)) * 0.1
    mixtures.requires_grad_()
    outputs = run(mixtures).reshape(2, EDGE, TAKES, -1, samples).sum(-2)
    # Items are independent, so each looks at one output and a single pass gives all gradients.
    observed = [
        outputs[0, offset, :, offset].sum() + outputs[1, offset, :, -1 - offset].sum() for offset in range(EDGE)
    ]
    (gradient,) = torch.autograd.grad(torch.stack(observed).sum(), mixtures)
    gradient = gradient.abs().reshape(2, EDGE, TAKES, samples)
    edges = torch.stack((gradient[0, ..., :EDGE], gradient[1, ..., -EDGE:].flip(-1)))  # [end, output, take, input]
    return (edges / gradient.amax(-1, keepdim=True).clamp_min(1e-30)).amax(-2)


def assert_edges_matter(run: Callable[[Tensor], Tensor], samples: int) -> None:
    """Check that each of the outermost inputs moves one of the outermost outputs, and that each of these is moved."""
    gradients = edge_gradients(run, samples)
    for end, of_end in zip(("first", "last"), gradients, strict=True):
        assert of_end.amax(0).min() > 0.01, f"of the {end} samples, some are not read: {of_end.tolist()}"
        assert of_end.amax(1).min() > 0.01, f"of the {end} samples, some are not answered: {of_end.tolist()}"
