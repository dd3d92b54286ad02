"""PESQ: better is more, the standard's two rates, and a reason where it has no value."""

import subprocess
import sys

import numpy as np
import pytest

from septool.metrics import UndefinedError, pesq
from septool.metrics.pesq import pesq_item
from tests.conftest import voice


def with_noise(clean: np.ndarray, db: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(len(clean))
    return clean + noise * np.linalg.norm(clean) / np.linalg.norm(noise) * 10 ** (-db / 20)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_less_noise_is_better(rate: int) -> None:
    clean = voice(150, seconds=1.5, rate=rate).astype(np.float64)
    scores = [pesq_item(estimate=with_noise(clean, db), reference=clean, rate=rate) for db in (0, 15, 30, 45)]
    assert scores == sorted(scores)
    assert 1 <= scores[0] < 2.5
    assert 3.5 < scores[-1] < 4.65


def test_narrow_band_at_8_and_wide_band_at_16_khz() -> None:
    clean = voice(150, seconds=1.5, rate=8000).astype(np.float64)
    same = pesq_item(estimate=clean, reference=clean, rate=8000)
    assert same == pytest.approx(4.549, abs=1e-3)  # the highest MOS-LQO of P.862.1
    clean = voice(150, seconds=1.5, rate=16000).astype(np.float64)
    same = pesq_item(estimate=clean, reference=clean, rate=16000)
    assert same == pytest.approx(4.644, abs=1e-3)  # and of P.862.2


@pytest.mark.parametrize(
    ("estimate", "reference", "rate", "reason"),
    [
        (np.ones(9), np.ones(9), 44100, "PESQ is defined at 8000 and 16000 Hz, not at 44100; --sample-rate resamples"),
        (np.zeros(8000), voice(150, seconds=1), 8000, "the estimate is silent"),
        (voice(150, seconds=1), np.zeros(8000), 8000, "no utterances detected"),
        (voice(150, seconds=0.2), voice(150, seconds=0.2), 8000, "buffer needs to be at least 1/4 of a second long"),
        (np.ones(1), np.ones(1), 8000, "buffer needs to be at least 1/4 of a second long"),
    ],
)
def test_where_there_is_no_value(estimate: np.ndarray, reference: np.ndarray, rate: int, reason: str) -> None:
    with pytest.raises(UndefinedError) as error:
        pesq_item(estimate=estimate.astype(np.float64), reference=reference.astype(np.float64), rate=rate)
    assert str(error.value) == reason


def test_a_long_recording_is_scored_where_a_crash_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    reference = random.normal(0, 0.1, 8000 * (pesq.LONG + 1)) * (np.arange(8000 * (pesq.LONG + 1)) % 16000 < 9000)
    estimate = reference + 0.01 * random.normal(size=len(reference))
    signals = {"estimate": estimate, "reference": reference, "rate": 8000}
    apart = pesq_item(**signals)
    with monkeypatch.context() as patch:
        patch.setattr(pesq, "LONG", 1000)
        assert pesq_item(**signals) == apart
    crash = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **how: run(crash, **how))
    with pytest.raises(UndefinedError, match="more utterances than"):
        pesq_item(**signals)
    crash[2] = "raise ImportError('no pesq')"
    with pytest.raises(UndefinedError, match="the process that computes it failed: ImportError: no pesq"):
        pesq_item(**signals)
