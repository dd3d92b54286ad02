"""The equal error rate in closed form."""

import numpy as np
import pytest

from septool.metrics import UndefinedError
from septool.metrics.eer import equal_error_rate


@pytest.mark.parametrize(
    ("yes", "no", "percent"),
    [
        ([2, 3, 4], [-1, 0, 1], 0),
        ([0, 0, 0], [1, 1], 100),
        ([1, 2, 3, 4], [0, 0.5, 1.5, -1], 25),  # at 1.5: one of four missed, one of four passed
        ([1, 1], [1, 1], 50),
        ([0, 2], [-1, 1, 1, -3], 50),
    ],
)
def test_closed_forms(yes: list[float], no: list[float], percent: float) -> None:
    truth = np.array([True] * len(yes) + [False] * len(no))
    assert equal_error_rate(np.array(yes + no), truth).percent == pytest.approx(percent)


def test_the_threshold_makes_the_errors_that_it_says() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(2000) % 2 == 0
    scores = random.standard_normal(2000) + 2 * truth
    found = equal_error_rate(scores, truth)
    decided = scores >= found.threshold
    assert 100 * (~decided[truth]).mean() == pytest.approx(found.percent, abs=0.1)
    assert 100 * decided[~truth].mean() == pytest.approx(found.percent, abs=0.1)
    assert found.percent == pytest.approx(15.87, abs=1.5)  # two normal distributions, two deviations apart


def test_the_threshold_decides_by_the_rate_with_ties_too() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        truth = np.append(random.random(random.integers(1, 6)) < 0.5, [True, False])
        scores = random.integers(0, 4, len(truth)).astype(float)
        found = equal_error_rate(scores, truth)
        decided = scores >= found.threshold
        assert 50 * ((~decided[truth]).mean() + decided[~truth].mean()) == pytest.approx(found.percent)


def test_the_threshold_lies_in_the_middle_of_those_that_decide_the_same() -> None:
    truth = np.array([True, True, False, False])
    assert equal_error_rate(np.array([3.0, 2.0, 1.0, 0.0]), truth).threshold == 1.5
    assert equal_error_rate(np.array([0.0, 1.0, 2.0, 3.0]), truth).threshold == 1.5


def test_neither_the_scale_nor_the_order_matters() -> None:
    random = np.random.default_rng(1)
    truth = random.random(300) < 0.3
    scores = random.standard_normal(300) + truth
    order = random.permutation(300)
    assert equal_error_rate(10 * scores + 3, truth).percent == equal_error_rate(scores[order], truth[order]).percent


@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_one_kind_of_trial_has_no_rate(truth: list[bool]) -> None:
    with pytest.raises(UndefinedError, match="same answer"):
        equal_error_rate(np.array([0.0, 1.0]), np.array(truth))


def test_a_score_that_is_no_number_has_no_rate() -> None:
    with pytest.raises(UndefinedError, match="not a number"):
        equal_error_rate(np.array([0.0, np.nan]), np.array([True, False]))
