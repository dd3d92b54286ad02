"""The best permutation: found among all, whatever the order, and not hidden by what has no score."""

import math
from functools import partial
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from septool.losses.pit import best_permutation
from septool.losses.si_snr import negative_si_snr, pit_si_snr
from septool.metrics.si_snr import si_snr


def sounds(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ORDERS = {2: [(0, 1), (1, 0)], 3: [(0, 1, 2), (2, 0, 1), (1, 0, 2)]}


@pytest.mark.parametrize("sources", [2, 3])
def test_any_order_of_the_estimates_gives_the_same_value(sources: int) -> None:
    reference = sounds(2, sources, 300)
    estimate = reference + 0.3 * sounds(2, sources, 300, seed=1)
    plain = si_snr(estimate=estimate, reference=reference).mean(-1)
    for order in ORDERS[sources]:
        best = best_permutation(si_snr, estimate=estimate[:, list(order)], reference=reference)
        torch.testing.assert_close(best.value, plain)
        # order[i] is the estimate of reference i: the inverse of how they were shuffled
        assert best.order.tolist() == [[order.index(i) for i in range(sources)]] * 2


def test_every_item_has_its_own_order() -> None:
    reference = sounds(3, 2, 300)
    estimate = reference + 0.3 * sounds(3, 2, 300, seed=1)
    estimate[1] = estimate[1].flip(0)
    assert best_permutation(si_snr, estimate=estimate, reference=reference).order.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_it_is_the_best_of_all() -> None:
    reference, estimate = sounds(1, 3, 50), sounds(1, 3, 50, seed=1)
    best = best_permutation(si_snr, estimate=estimate, reference=reference)
    values = [si_snr(estimate=estimate[:, list(order)], reference=reference).mean() for order in permutations(range(3))]
    torch.testing.assert_close(best.value[0], max(values))


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_silent_reference_does_not_hide_the_order_of_the_others(silent: int) -> None:
    reference = sounds(1, 3, 300)
    order = [2, 0, 1]
    estimate = (reference + 0.3 * sounds(1, 3, 300, seed=1))[:, order]
    reference[:, silent] = 0
    best = best_permutation(si_snr, estimate=estimate, reference=reference)
    assert best.order.tolist() == [[order.index(i) for i in range(3)]]
    assert best.value.isnan().all()  # a mean with an undefined part is undefined


def test_an_exact_or_orthogonal_estimate_does_not_hide_the_order_of_the_others() -> None:
    def score(*, estimate: Tensor, reference: Tensor) -> Tensor:
        given = torch.tensor([[[math.inf, 1.0, 2.0], [0.0, 3.0, 9.0], [-math.inf, 8.0, 1.0]]])
        return given.expand(len(estimate), 3, 3)  # [batch, reference, estimate]

    best = best_permutation(score, estimate=sounds(1, 3, 5), reference=sounds(1, 3, 5))
    assert best.order.tolist() == [[0, 2, 1]]
    assert best.value.tolist() == [math.inf]


def test_a_silent_reference_and_a_silent_estimate_find_each_other() -> None:
    reference, estimate = sounds(1, 2, 300), sounds(1, 2, 300, seed=1)
    reference[:, 0] = estimate[:, 1] = 0
    assert best_permutation(si_snr, estimate=estimate, reference=reference).order.tolist() == [[1, 0]]


def test_numbers_that_are_none_give_nan_and_not_a_best_value() -> None:
    reference, estimate = sounds(2, 2, 50), sounds(2, 2, 50, seed=1)
    estimate[0] = math.nan
    best = best_permutation(partial(si_snr, eps=1e-8), estimate=estimate, reference=reference)
    assert best.value.isnan().tolist() == [True, False]


def test_the_loss_is_minus_the_metric_and_its_gradient_goes_to_the_best_order() -> None:
    reference = sounds(2, 2, 300)
    estimate = (reference + 0.3 * sounds(2, 2, 300, seed=1)).flip(1).requires_grad_()
    loss = negative_si_snr(estimate=estimate, reference=reference)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss.double(), -si_snr(estimate=estimate.flip(1), reference=reference).mean(-1), atol=1e-4, rtol=0
    )
    loss.sum().backward()
    expected = estimate.detach().clone().requires_grad_()
    (-si_snr(estimate=expected.flip(1), reference=reference).mean(-1)).sum().backward()
    torch.testing.assert_close(estimate.grad, expected.grad, atol=1e-5, rtol=1e-3)


def test_silence_has_a_gradient() -> None:
    estimate = torch.zeros(1, 2, 50, requires_grad=True)
    negative_si_snr(estimate=estimate, reference=torch.zeros(1, 2, 50)).sum().backward()
    assert estimate.grad is not None
    assert estimate.grad.isfinite().all()


def test_the_model_is_asked_by_the_loss() -> None:
    model: Any = torch.nn.Module()
    model.forward = lambda mixture: torch.stack((mixture, mixture * 0.5 + 1), 1)
    mixture = sounds(2, 50)
    assert (pit_si_snr(model, mixture, torch.stack((mixture, mixture), 1)) < -60).all()


@pytest.mark.parametrize("estimates", [1, 3])
def test_as_many_estimates_as_references(estimates: int) -> None:
    with pytest.raises(ValueError, match=f"there are {estimates} estimates and 2 references"):
        negative_si_snr(estimate=sounds(2, estimates, 50), reference=sounds(2, 2, 50))


def test_a_voice_that_speaks_is_worth_more_than_a_silent_estimate() -> None:
    """Of a three-voice model on two talkers: the silent estimate belongs to the silent reference."""
    reference = sounds(1, 3, 300)
    reference[:, 2] = 0
    noise = sounds(1, 3, 300, seed=1)
    estimate = torch.stack(
        (noise[:, 0] * 0, reference[:, 1] + 0.7 * noise[:, 1], reference[:, 0] + 0.3 * noise[:, 0]), 1
    )
    assert best_permutation(si_snr, estimate=estimate, reference=reference).order.tolist() == [[2, 1, 0]]


def test_many_voices_are_assigned_without_comparing_all_orders() -> None:
    reference = sounds(2, 10, 300)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(2))
    estimate = (reference + 0.3 * sounds(2, 10, 300, seed=1))[:, order]
    best = best_permutation(si_snr, estimate=estimate, reference=reference)
    assert best.order.tolist() == [order.argsort().tolist()] * 2
    plain = si_snr(estimate=estimate[:, order.argsort()], reference=reference).mean(-1)
    torch.testing.assert_close(best.value, plain)


@pytest.mark.parametrize("seed", range(5))
def test_both_ways_of_assigning_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, estimate = sounds(3, 4, 60, seed=seed), sounds(3, 4, 60, seed=seed + 100)
    all_orders = best_permutation(si_snr, estimate=estimate, reference=reference)
    monkeypatch.setattr("septool.losses.pit.MOST_ORDERS_SOURCES", 1)
    assigned = best_permutation(si_snr, estimate=estimate, reference=reference)
    assert assigned.order.tolist() == all_orders.order.tolist()
    torch.testing.assert_close(assigned.value, all_orders.value)
