"""Log-spectral distance: closed forms, and its floor."""

import numpy as np
import pytest

from septool.metrics import UndefinedError
from septool.metrics.spectral import log_spectral_distance_item
from tests.conftest import voice

SOUND = np.random.default_rng(0).standard_normal(4000)


def distance(estimate: np.ndarray, reference: np.ndarray = SOUND) -> float:
    return log_spectral_distance_item(estimate=estimate, reference=reference, rate=8000)


@pytest.mark.parametrize("gain_db", [-12.0, 0.0, 3.0, 20.0])
def test_another_level_is_as_far_as_it_is_loud(gain_db: float) -> None:
    assert distance(SOUND * 10 ** (gain_db / 20)) == pytest.approx(abs(gain_db), abs=1e-3)


def test_what_is_80_db_below_the_loudest_counts_as_that() -> None:
    reference = voice(120, seconds=1).astype(np.float64) * (np.arange(8000) < 4000)
    hiss = np.random.default_rng(1).standard_normal(8000) * (np.arange(8000) >= 4400)
    assert distance(reference + 1e-9 * hiss, reference) == pytest.approx(0, abs=1e-6)
    assert distance(reference + 1e-2 * hiss, reference) > 10


def test_a_perfect_estimate_is_no_distance_away() -> None:
    assert distance(SOUND) == 0.0


@pytest.mark.parametrize(
    ("estimate", "reference", "reason"),
    [
        (SOUND, np.zeros(4000), "the reference is silent"),
        (np.zeros(4000), SOUND, "the estimate is silent"),
        (SOUND[:100], SOUND[:100] * 2, "less than one window of 32 ms for a log-spectral distance"),
    ],
)
def test_where_there_is_no_value(estimate: np.ndarray, reference: np.ndarray, reason: str) -> None:
    with pytest.raises(UndefinedError) as error:
        distance(estimate, reference)
    assert str(error.value) == reason
