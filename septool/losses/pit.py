"""Utterance-level permutation-invariant training (Kolbæk et al., 2017)."""

# pyright: reportMissingTypeStubs=false

from collections.abc import Callable
from itertools import permutations
from typing import Any, NamedTuple

import torch
from torch import Tensor

MOST_ORDERS_SOURCES = 5  # up to here all orders are compared at once, beyond by linear assignment
LOST = 1e4  # rank of a pair without a finite score, far beyond any of decibels
Score = Callable[..., Tensor]  # score(estimate=, reference=) -> higher is better


class Best(NamedTuple):
    """The best assignment of estimates to references."""

    value: Tensor  # [batch], mean score over the sources
    order: Tensor  # [batch, source]: order[b, i] is the estimate that belongs to reference i


def best_permutation(score: Score, *, estimate: Tensor, reference: Tensor) -> Best:
    """Assign estimates to references so that the mean score is highest.

    Where all pairs of a reference are undefined (it is silent), any estimate does for it. A silent estimate, undefined
    for the other references too, is the worst of all for those: it goes to the silent reference if there is one.

    Args:
        score: a metric, called once on all pairs.
        estimate: ``[batch, source, time]``.
        reference: ``[batch, source, time]``.

    Raises:
        ValueError: there are more of the ones than of the others.
    """
    if estimate.shape[1] != reference.shape[1]:
        raise ValueError(f"there are {estimate.shape[1]} estimates and {reference.shape[1]} references")
    pairs = score(estimate=estimate[:, None], reference=reference[:, :, None])  # [batch, reference, estimate]
    sources = pairs.shape[1]
    ranks = rank_pairs(pairs.detach())
    if sources > MOST_ORDERS_SOURCES:
        order = torch.stack([assign_sources(item) for item in ranks])
    else:
        orders = torch.tensor(list(permutations(range(sources))), device=pairs.device)  # [order, reference]
        totals = ranks[:, torch.arange(sources, device=pairs.device), orders].sum(-1)  # [batch, order]
        order = orders[totals.argmax(-1)]
    value = pairs.gather(-1, order[..., None])[..., 0].mean(-1)
    return Best(value, order)


def rank_pairs(pairs: Tensor) -> Tensor:
    """Make scores ``[..., reference, estimate]`` finite: 0 for a silent reference, the worst for a silent estimate."""
    ranks = pairs.nan_to_num(nan=-LOST, posinf=LOST, neginf=-LOST)
    return ranks.masked_fill(pairs.isnan().all(-1, keepdim=True), 0.0)


def assign_sources(ranks: Tensor) -> Tensor:
    """Return the estimate of each reference ``[reference]`` that makes the sum of ``[reference, estimate]`` highest.

    There may be more estimates than references, not fewer.
    """
    import scipy.optimize

    untyped: Any = scipy.optimize
    _, order = untyped.linear_sum_assignment(ranks.cpu().double().numpy(), maximize=True)
    return torch.as_tensor(order).to(ranks.device)
