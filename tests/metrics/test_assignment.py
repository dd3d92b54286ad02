"""Estimates are assigned by ranks, which are finite where scores are not."""

import torch

from septool.metrics.assignment import UNDEFINED_RANK, assign_sources, rank_pairs


def test_a_silent_estimate_is_the_worst_but_for_a_silent_reference() -> None:
    nan, worst = torch.nan, -UNDEFINED_RANK
    pairs = torch.tensor([[[nan, 5.0], [nan, 3.0]], [[nan, nan], [nan, 3.0]], [[nan, nan], [-torch.inf, 3.0]]])
    assert rank_pairs(pairs).tolist() == [
        [[worst, 5], [worst, 3]],
        [[0, 0], [worst, 3]],
        [[0, 0], [worst, 3]],
    ]


def test_the_sum_is_highest_and_surplus_estimates_are_left_over() -> None:
    assert assign_sources(torch.tensor([[5.0, 6.0, 0.0], [1.0, 6.0, 2.0]])).tolist() == [0, 1]
