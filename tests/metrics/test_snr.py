"""SNR: the definition's closed form, in which the level counts."""

import numpy as np
import pytest

from septool.metrics import UndefinedError
from septool.metrics.snr import snr_item

SOUND = np.random.default_rng(0).standard_normal(1000)


def snr(estimate: np.ndarray, reference: np.ndarray = SOUND) -> float:
    return snr_item(estimate=estimate, reference=reference, rate=8000)


@pytest.mark.parametrize(("gain", "db"), [(0.9, 20.0), (1.1, 20.0), (2.0, 0.0), (11.0, -20.0)])
def test_a_wrong_level_is_noise(gain: float, db: float) -> None:
    assert snr(gain * SOUND) == pytest.approx(db)


def test_an_offset_is_noise() -> None:
    square = np.tile([1.0, -1.0], 500)
    assert snr(square + 0.1, square) == pytest.approx(20)


@pytest.mark.parametrize(
    ("estimate", "reference", "reason"),
    [
        (SOUND, np.zeros(1000), "the reference is silent"),
        (np.zeros(1000), SOUND, "the estimate is silent"),
        (SOUND, SOUND, "the estimate equals the reference"),
    ],
)
def test_where_there_is_no_value(estimate: np.ndarray, reference: np.ndarray, reason: str) -> None:
    with pytest.raises(UndefinedError) as error:
        snr(estimate, reference)
    assert str(error.value) == reason
