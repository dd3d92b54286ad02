"""Utterance-level permutation-invariant training (Kolbæk et al., 2017)."""

from collections.abc import Callable
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor

from septool.metrics.assignment import assign_sources, rank_pairs

MOST_ORDERS_SOURCES = 5  # up to here all orders are compared at once, beyond by linear assignment
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
