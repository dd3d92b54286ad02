"""STOI and its extension: from 0 to 1, and no stand-in number where there is too little speech."""

from collections.abc import Callable

import numpy as np
import pytest

from septool.metrics import UndefinedError
from septool.metrics.stoi import estoi_item, stoi_item
from tests.conftest import voice
from tests.metrics.test_pesq import with_noise

CLEAN = voice(150, seconds=1.5, rate=10000).astype(np.float64)
both = pytest.mark.parametrize("item", [stoi_item, estoi_item])


@both
def test_less_noise_is_better(item: Callable[..., float]) -> None:
    scores = [item(estimate=with_noise(CLEAN, db), reference=CLEAN, rate=10000) for db in (-10, 0, 10, 30)]
    assert scores == sorted(scores)
    assert 0 < scores[0] < 0.8
    assert 0.8 < scores[-1] < 1
    assert item(estimate=CLEAN, reference=CLEAN, rate=10000) == pytest.approx(1, abs=1e-6)
    assert item(estimate=5 * CLEAN, reference=CLEAN, rate=10000) == pytest.approx(1, abs=1e-6)


def test_the_extension_is_another_number() -> None:
    noisy = with_noise(CLEAN, 0)
    assert estoi_item(estimate=noisy, reference=CLEAN, rate=10000) < stoi_item(
        estimate=noisy, reference=CLEAN, rate=10000
    )


@both
def test_what_sounds_where_the_reference_pauses_is_left_out(item: Callable[..., float]) -> None:
    pause = np.zeros(10000)
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(pause))
    paused, hissing = (np.concatenate([CLEAN, middle, CLEAN]) for middle in (pause, noise))
    assert item(estimate=hissing, reference=paused, rate=10000) > 0.9
    assert item(estimate=paused, reference=hissing, rate=10000) < 0.8


@both
@pytest.mark.parametrize(
    ("estimate", "reference", "reason"),
    [
        (CLEAN[:3000], CLEAN[:3000], "too little speech for STOI (about 0.4 s are needed)"),
        (CLEAN[:1], CLEAN[:1], "the reference or the estimate is silent"),
        (CLEAN[:9], CLEAN[:9], "too little speech for STOI (about 0.4 s are needed)"),
        (CLEAN, 0 * CLEAN, "the reference or the estimate is silent"),
        (0 * CLEAN, CLEAN, "the reference or the estimate is silent"),
    ],
)
def test_where_there_is_no_value(
    item: Callable[..., float], estimate: np.ndarray, reference: np.ndarray, reason: str
) -> None:
    with pytest.raises(UndefinedError) as error:
        item(estimate=estimate, reference=reference, rate=10000)
    assert str(error.value) == reason
