"""Assignment of estimates to references by the scores of all pairs, some of which may be undefined."""

# pyright: reportMissingTypeStubs=false

from typing import Any

import torch
from torch import Tensor

UNDEFINED_RANK = 1e4  # rank of a pair without a finite score, far beyond any of decibels


def rank_pairs(pairs: Tensor) -> Tensor:
    """Make scores ``[..., reference, estimate]`` finite: 0 for a silent reference, the worst for a silent estimate."""
    ranks = pairs.nan_to_num(nan=-UNDEFINED_RANK, posinf=UNDEFINED_RANK, neginf=-UNDEFINED_RANK)
    return ranks.masked_fill(pairs.isnan().all(-1, keepdim=True), 0.0)


def assign_sources(ranks: Tensor) -> Tensor:
    """Return the estimate of each reference ``[reference]`` that makes the sum of ``[reference, estimate]`` highest.

    There may be more estimates than references, not fewer.
    """
    import scipy.optimize

    untyped: Any = scipy.optimize
    _, order = untyped.linear_sum_assignment(ranks.cpu().double().numpy(), maximize=True)
    return torch.as_tensor(order).to(ranks.device)
