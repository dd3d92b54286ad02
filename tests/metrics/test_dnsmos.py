"""DNSMOS: the numbers of speechmos, which ships its network."""

import numpy as np
import pytest

from septool import audio
from septool.errors import UsageError
from septool.metrics import FUNCTIONS, METRICS, UndefinedError, check_installed
from septool.metrics.dnsmos import LEVEL
from tests.conftest import voice

NAMES = ("dnsmos-sig", "dnsmos-bak", "dnsmos-ovrl")
# Of speechmos 0.0.1.1 (dnsmos.run at 16 kHz) with onnxruntime 1.32.0.
GOLDEN = {2.0: (1.51798, 1.2362, 1.24597), 11.5: (1.5136, 1.24854, 1.20142)}


def scores(signal: np.ndarray, rate: int) -> list[float]:
    return [FUNCTIONS[name](estimate=signal, reference=signal, rate=rate) for name in NAMES]


def noisy(seconds: float, rate: int = 16000) -> np.ndarray:
    signal = voice(120, seconds=seconds, rate=rate).astype(np.float64)
    signal = signal + 0.02 * np.random.default_rng(0).standard_normal(len(signal))
    return signal * LEVEL / np.sqrt(np.mean(np.square(signal)))


@pytest.fixture
def network() -> None:
    pytest.importorskip("speechmos", reason="speechmos is not installed")


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("seconds", GOLDEN)
def test_equal_to_the_frozen_numbers_of_speechmos(seconds: float) -> None:
    assert scores(noisy(seconds), 16000) == pytest.approx(GOLDEN[seconds], abs=1e-3)


@pytest.mark.usefixtures("network")
def test_level_changes_nothing_and_other_rates_are_resampled() -> None:
    signal = noisy(2.0, 8000)
    assert scores(1000 * signal, 8000) == pytest.approx(scores(signal, 8000), abs=1e-3)
    resampled = audio.resample(signal.astype(np.float32), 8000, 16000).astype(np.float64)
    assert scores(signal, 8000) == pytest.approx(scores(resampled, 16000), abs=1e-3)


def test_silence_has_no_quality() -> None:
    with pytest.raises(UndefinedError, match="the estimate is silent"):
        scores(np.zeros(16000), 16000)


def test_without_the_package_the_metric_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("septool.metrics.find_spec", lambda _: None)
    check_installed(name for name in METRICS if name not in NAMES)
    with pytest.raises(
        UsageError, match=r"dnsmos-sig needs speechmos; install it with: pip install 'septool\[dnsmos\]'"
    ):
        check_installed(NAMES)
