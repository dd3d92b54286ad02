"""Utterance-level permutation-invariant training (Kolbaek et al., 2017)."""

from collections.abc import Callable
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor

Score = Callable[..., Tensor]  # score(estimate=, reference=) -> higher is better


class Best(NamedTuple):
    """The best assignment of estimates to references."""

    value: Tensor  # [batch], mean score over the sources
    order: Tensor  # [batch, source]: order[b, i] is the estimate that belongs to reference i


def best_permutation(score: Score, *, estimate: Tensor, reference: Tensor) -> Best:
    """Assign estimates to references so that the mean score is highest.

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
    orders = torch.tensor(list(permutations(range(sources))), device=pairs.device)  # [order, reference]
    scores = pairs[:, torch.arange(sources, device=pairs.device), orders]  # [batch, order, reference]
    # What has no finite score (a silent reference, an exact estimate) must not hide the order of the others.
    ranks = scores.detach().nan_to_num(nan=torch.nan, posinf=1e4, neginf=-1e4).nanmean(-1)
    index = ranks.nan_to_num(nan=-torch.inf).argmax(-1)
    value = scores.mean(-1).gather(-1, index[:, None])[:, 0]
    return Best(value, orders[index])
