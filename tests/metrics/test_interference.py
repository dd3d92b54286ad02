"""SIR and SAR: another voice apart from what is no voice."""

import numpy as np
import pytest

from septool.metrics import UndefinedError
from septool.metrics.interference import sar_item, sir_item

VOICES = np.random.default_rng(0).standard_normal((3, 6000))
NOISE = np.random.default_rng(1).standard_normal(6000)


def both(estimate: np.ndarray, others: np.ndarray = VOICES[1:]) -> tuple[float, float]:
    sir, sar = (item(estimate=estimate, reference=VOICES[0], others=others, rate=8000) for item in (sir_item, sar_item))
    return sir, sar


# Of any noise of 6000 samples the 512 delays of three voices explain so much.
EXPLAINED_DB = -10 * np.log10(1 - 3 * 512 / 6000)


def test_another_voice_is_interference_and_noise_is_an_artifact() -> None:
    sir, sar = both(VOICES[0] + 0.1 * VOICES[1] + 0.01 * NOISE)
    assert sir == pytest.approx(20, abs=0.7)
    assert sar == pytest.approx(40 + EXPLAINED_DB, abs=0.3)
    sir, sar = both(VOICES[0] + 0.01 * VOICES[2] + 0.1 * NOISE)
    assert sir > 25
    assert sar == pytest.approx(20 + EXPLAINED_DB, abs=0.3)


def test_a_silent_voice_interferes_with_nothing() -> None:
    estimate = VOICES[0] + 0.1 * VOICES[1] + 0.01 * NOISE
    silent = np.stack([VOICES[1], np.zeros(6000)])
    assert both(estimate, silent) == pytest.approx(both(estimate, VOICES[1:2]), abs=1e-9)


@pytest.mark.parametrize(
    ("item", "signals", "reason"),
    [
        (sir_item, {"others": np.zeros((0, 6000))}, "there is no other voice to interfere"),
        (sir_item, {"others": np.zeros((1, 6000))}, "there is no other voice to interfere"),
        (sir_item, {"reference": np.zeros(6000)}, "the reference is silent"),
        (sar_item, {"estimate": np.zeros(6000)}, "the estimate is silent"),
        (sar_item, {"estimate": 1.5 * VOICES[0] * (np.arange(6000) < 5000)}, None),
        (sar_item, {"others": np.stack([VOICES[0], VOICES[0]])}, "the references' 512 delays are linearly dependent"),
    ],
)
def test_where_there_is_no_value(item, signals: dict[str, np.ndarray], reason: str | None) -> None:
    given = {"estimate": NOISE, "reference": VOICES[0], "others": VOICES[1:], "rate": 8000} | signals
    if reason is None:
        assert np.isfinite(item(**given))
        return
    with pytest.raises(UndefinedError) as error:
        item(**given)
    assert str(error.value) == reason
