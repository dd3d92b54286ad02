"""Every metric against the numbers of its reference implementation: frozen, and live where that is installed."""

import json
import warnings
from functools import partial

import numpy as np
import pytest

from septool.metrics import FUNCTIONS, METRICS
from tests.metrics.make_golden import GOLDEN, LEAKING, leaking

FROZEN = json.loads((GOLDEN / "scores.json").read_text())
# What takes more than signals, or a network of another package, has golden numbers of its own (test_wer, test_dnsmos).
SIGNAL_METRICS = sorted(name for name in FUNCTIONS if name != "wer" and not name.startswith("dnsmos"))
# Decibels to 1e-6; P.862's code works in single precision.
TOLERANCE = dict.fromkeys(SIGNAL_METRICS, 1e-6) | {"pesq": 1e-4}
every_metric = pytest.mark.parametrize("name", SIGNAL_METRICS)
every_case = pytest.mark.parametrize("case", LEAKING)


def found(name: str, references: np.ndarray, estimates: np.ndarray, rate: int) -> list[float]:
    needs_others = any(metric.needs_others for metric in METRICS.values() if metric.base == name)
    scores = []
    for n, (estimate, reference) in enumerate(zip(estimates, references, strict=True)):
        others = {"others": np.delete(references, n, axis=0)} if needs_others else {}
        scores.append(FUNCTIONS[name](estimate=estimate, reference=reference, rate=rate, **others))
    return scores


@every_metric
@every_case
def test_equal_to_the_frozen_numbers(name: str, case: str) -> None:
    setting = LEAKING[case]
    scores = found(name, *leaking(**setting), setting["rate"])
    assert scores == pytest.approx(FROZEN["scores"][case][name], abs=TOLERANCE[name])


def test_the_frozen_numbers_say_what_made_them() -> None:
    assert set(FROZEN["made_with"]) == set(SIGNAL_METRICS)
    packages = {maker.split(".")[0] for maker in FROZEN["made_with"].values()} - {"tests"}
    assert packages <= set(FROZEN["versions"])


@every_case
def test_sdr_sir_and_sar_equal_mir_eval(case: str) -> None:
    separation = pytest.importorskip("mir_eval.separation", reason="mir_eval 0.9 has no separation module")
    setting = LEAKING[case]
    references, estimates = leaking(**setting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = separation.bss_eval_sources(references, estimates, compute_permutation=False)
    for name, values in zip(("sdr", "sir", "sar"), theirs, strict=False):
        assert found(name, references, estimates, setting["rate"]) == pytest.approx(values.tolist(), abs=1e-6)


@every_case
def test_sdr_sir_and_sar_equal_fast_bss_eval_in_torch(case: str) -> None:
    """Another solver of the same package, which also finds the permutation."""
    fast_bss_eval, torch = pytest.importorskip("fast_bss_eval"), pytest.importorskip("torch")
    setting = LEAKING[case]
    references, estimates = leaking(**setting)
    *theirs, order = fast_bss_eval.bss_eval_sources(
        torch.from_numpy(references), torch.from_numpy(estimates), filter_length=512, compute_permutation=True
    )
    assert order.tolist() == [*range(len(references))]
    for name, values in zip(("sdr", "sir", "sar"), theirs, strict=True):
        assert found(name, references, estimates, setting["rate"]) == pytest.approx(values.tolist(), abs=1e-6)


@every_case
def test_pesq_and_stoi_equal_their_packages(case: str) -> None:
    """What is between the packages and the scores, a resampling or a clamp, would show."""
    pesq, pystoi = pytest.importorskip("pesq").pesq, pytest.importorskip("pystoi").stoi
    setting = LEAKING[case]
    rate = setting["rate"]
    references, estimates = leaking(**setting)
    pairs = list(zip(references, estimates, strict=True))
    theirs = [pesq(rate, true, each, {8000: "nb", 16000: "wb"}[rate]) for true, each in pairs]
    assert found("pesq", references, estimates, rate) == pytest.approx(theirs, abs=1e-4)
    for name, extended in (("stoi", False), ("estoi", True)):
        score = partial(pystoi, extended=extended)
        theirs = [score(true, each, rate) for true, each in pairs]
        assert found(name, references, estimates, rate) == pytest.approx(theirs, abs=1e-9)
