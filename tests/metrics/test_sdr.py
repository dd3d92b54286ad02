"""SDR: the numbers of mir_eval, live and frozen."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from septool.metrics import UndefinedError
from septool.metrics.sdr import FILTER_LENGTH, sdr_item
from tests.metrics.make_golden import CASES, signals

GOLDEN = json.loads((Path(__file__).parent / "golden/sdr.json").read_text())["sdr_db"]


def sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    return sdr_item(estimate=estimate, reference=reference, rate=8000)


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_frozen_numbers_of_mir_eval(case: str) -> None:
    reference, estimate = signals(**CASES[case])
    found = [sdr(one, true) for one, true in zip(estimate, reference, strict=True)]
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


def test_a_short_filter_is_forgiven_and_a_long_one_is_not() -> None:
    random = np.random.default_rng(0)
    reference = np.pad(random.standard_normal(4000), (0, 2 * FILTER_LENGTH))
    noise = 1e-3 * random.standard_normal(len(reference))
    assert sdr(np.roll(reference, FILTER_LENGTH - 1) + noise, reference) > 50
    assert sdr(np.roll(reference, FILTER_LENGTH) + noise, reference) < 0


def test_scale_changes_nothing() -> None:
    reference, estimate = signals(**CASES["noise, 10 dB"])
    assert sdr(estimate[0] * 1e-4, reference[0]) == pytest.approx(sdr(estimate[0], reference[0]), abs=1e-8)


@pytest.mark.parametrize(
    ("estimate", "reference", "reason"),
    [
        (np.arange(900.0), np.zeros(900), "the reference is silent"),
        (np.zeros(900), np.arange(900.0), "the estimate is silent"),
        (np.eye(900)[5], np.eye(900)[5], "the estimate equals the reference"),
    ],
)
def test_where_there_is_no_value(estimate: np.ndarray, reference: np.ndarray, reason: str) -> None:
    with pytest.raises(UndefinedError) as error:
        sdr(estimate, reference)
    assert str(error.value) == reason
