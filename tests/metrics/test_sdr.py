"""SDR: the numbers of mir_eval, live and frozen."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import signal
from scipy.linalg import LinAlgError

from septool.errors import UsageError
from septool.metrics import UndefinedError
from septool.metrics.sdr import FILTER_LENGTH, SDR_BACKENDS, check_sdr_backend, sdr_item
from tests.metrics.make_golden import CASES, signals

GOLDEN = json.loads((Path(__file__).parent / "golden/sdr.json").read_text())["sdr_db"]


def sdr(estimate: np.ndarray, reference: np.ndarray, backend: str = "septool") -> float:
    return sdr_item(estimate=estimate, reference=reference, rate=8000, backend=backend)


@pytest.mark.parametrize("backend", ["septool", "fast-bss-eval"])
@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_frozen_numbers_of_mir_eval(case: str, backend: str) -> None:
    reference, estimate = signals(**CASES[case])
    found = [sdr(one, true, backend) for one, true in zip(estimate, reference, strict=True)]
    assert found == pytest.approx(GOLDEN[case], abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_equal_to_mir_eval(case: str) -> None:
    separation = pytest.importorskip("mir_eval.separation", reason="mir_eval 0.9 has no separation module")
    reference, estimate = signals(**CASES[case])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = separation.bss_eval_sources(reference, estimate, compute_permutation=False)[0]
    found = [sdr(one, true) for one, true in zip(estimate, reference, strict=True)]
    assert found == pytest.approx(theirs.tolist(), abs=1e-6)


@pytest.mark.parametrize("db", [0.0, 30.0, 90.0])
def test_signals_without_high_frequencies_equal_mir_eval(db: float) -> None:
    pytest.importorskip("mir_eval.separation", reason="mir_eval 0.9 has no separation module")
    random = np.random.default_rng(0)
    # A voice that was resampled from half the rate: the condition of its 512 delays is beyond float64.
    narrow = signal.resample_poly(random.standard_normal((2, 6000)), 2, 1, axis=1)
    estimate = narrow[0] + 10 ** (-db / 20) * narrow[1]
    assert sdr(estimate, narrow[0]) == pytest.approx(
        sdr(estimate, narrow[0], "mir_eval"), abs=1e-6 if db < 90 else 1e-3
    )


def test_the_recursion_alone_is_enough_for_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("septool.metrics.sdr._by_fast_bss_eval", lambda *_: pytest.fail("the slower solver is called"))
    reference, estimate = signals(**CASES["voices, 0 dB"])
    found = [sdr(one, true) for one, true in zip(estimate, reference, strict=True)]
    assert found == pytest.approx(GOLDEN["voices, 0 dB"], abs=1e-6)


def test_another_solver_helps_where_the_recursion_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, estimate = signals(**CASES["voices, 0 dB"])
    right = sdr(estimate[0], reference[0])
    monkeypatch.setattr("scipy.linalg.solve_toeplitz", lambda _, right_side: 0.999 * right_side)
    assert sdr(estimate[0], reference[0]) == pytest.approx(right, abs=1e-9)

    def singular(*_: np.ndarray) -> np.ndarray:
        raise LinAlgError

    monkeypatch.setattr("scipy.linalg.solve_toeplitz", singular)
    assert sdr(estimate[0], reference[0]) == pytest.approx(right, abs=1e-9)


def test_backends_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"unknown SDR backend 'mir-eval'; did you mean 'mir_eval'\?"):
        check_sdr_backend("mir-eval")
    monkeypatch.setitem(sys.modules, "mir_eval.separation", None)
    with pytest.raises(UsageError, match=r"needs mir_eval before 0\.9; install it with"):
        check_sdr_backend("mir_eval")


def test_a_short_filter_is_forgiven_and_a_long_one_is_not() -> None:
    random = np.random.default_rng(0)
    reference = np.pad(random.standard_normal(4000), (0, 2 * FILTER_LENGTH))
    noise = 1e-3 * random.standard_normal(len(reference))
    assert sdr(np.roll(reference, FILTER_LENGTH - 1) + noise, reference) > 50
    assert sdr(np.roll(reference, FILTER_LENGTH) + noise, reference) < 0


def test_scale_changes_nothing() -> None:
    reference, estimate = signals(**CASES["noise, 10 dB"])
    assert sdr(estimate[0] * 1e-4, reference[0]) == pytest.approx(sdr(estimate[0], reference[0]), abs=1e-8)


@pytest.mark.parametrize("backend", SDR_BACKENDS)
@pytest.mark.parametrize(
    ("estimate", "reference", "reason"),
    [
        (np.arange(900.0), np.zeros(900), "the reference is silent"),
        (np.zeros(900), np.arange(900.0), "the estimate is silent"),
        (np.eye(900)[5], np.eye(900)[5], "the estimate equals the reference"),
    ],
)
def test_where_there_is_no_value(estimate: np.ndarray, reference: np.ndarray, reason: str, backend: str) -> None:
    with pytest.raises(UndefinedError) as error:
        sdr(estimate, reference, backend)
    assert str(error.value) == reason
