"""Signal-to-distortion ratio of BSS Eval 3 (Vincent, Gribonval and Févotte, 2006)."""

# pyright: reportMissingTypeStubs=false

import math
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
from scipy.linalg import LinAlgError

from septool.errors import UsageError
from septool.metrics import UndefinedError
from septool.metrics.si_snr import undefined_reason
from septool.registry import suggest

# Modules without annotations.
fft: Any = scipy.fft
linalg: Any = scipy.linalg
FILTER_LENGTH = 512  # samples of the distortion filter that is allowed
# Of what a wrong solution may change the ratio by; 1e-6 dB are 2e-7 of it.
TOLERANCE = 1e-8


def sdr_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int, backend: str = "septool") -> float:  # noqa: ARG001
    r"""SDR of one signal ``[time]`` in dB; higher is better.

    :math:`10 \log_{10} \|P \hat s\|^2 / \|\hat s - P \hat s\|^2` with P the projection on the reference
    and its 511 delays. The numbers are those of ``mir_eval.separation.bss_eval_sources`` to 1e-6 dB by any backend, but
    for references whose delays are linearly dependent, such as a tone, of which every solver makes something else.

    Args:
        estimate: ``[time]``.
        reference: ``[time]``.
        rate: Hz.
        backend: whose code computes it, a name of :data:`SDR_BACKENDS`.

    Raises:
        UndefinedError: the reference or estimate is silent, or the ratio is infinite.
    """
    # mir_eval gives about 300 dB to what is the same.
    if not np.ptp(reference) or not np.ptp(estimate) or np.array_equal(estimate, reference):
        raise UndefinedError(undefined_reason(estimate, reference))
    try:
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            value = SDR_BACKENDS[backend](estimate.astype(np.float64), reference.astype(np.float64))
    except LinAlgError:
        raise UndefinedError("the reference's 512 delays are linearly dependent") from None
    if not np.isfinite(value):
        raise UndefinedError(undefined_reason(estimate, reference))
    return value


def _by_septool(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Solve the normal equations of the projection by Levinson's recursion, which knows that their matrix is Toeplitz.

    Where its solution is not exact enough, which it is not for an ill-conditioned matrix or a very high ratio,
    fast_bss_eval solves them as any others.
    """
    reference, estimate = (signal / np.linalg.norm(signal) for signal in (reference, estimate))
    size = fft.next_fast_len(len(reference) + FILTER_LENGTH - 1, real=True)
    of_reference, of_estimate = np.asarray(fft.rfft(np.stack([reference, estimate]), size))
    autocorrelation = np.asarray(fft.irfft(np.square(np.abs(of_reference)), size))[:FILTER_LENGTH]
    correlation = np.asarray(fft.irfft(of_reference.conj() * of_estimate, size))[:FILTER_LENGTH]
    try:
        filter = linalg.solve_toeplitz(autocorrelation, correlation)
    except LinAlgError:
        return _by_fast_bss_eval(estimate, reference)
    explained = float(correlation @ filter)  # part of the estimate's energy
    error = float(filter @ (correlation - linalg.matmul_toeplitz(autocorrelation, filter)))  # first-order error of that
    if not (0 < explained < 1 and abs(error) <= TOLERANCE * explained * (1 - explained)):
        return _by_fast_bss_eval(estimate, reference)
    return 10 * math.log10(explained / (1 - explained))


def _by_fast_bss_eval(estimate: np.ndarray, reference: np.ndarray) -> float:
    import fast_bss_eval

    # In pairs: the plain form does not run with numpy 2, and fast_bss_eval.sdr stops at an infinite value.
    values = fast_bss_eval.sdr_loss(
        estimate[None],
        reference[None],
        filter_length=FILTER_LENGTH,
        zero_mean=False,
        load_diag=None,
        clamp_db=None,
        use_cg_iter=None,
        pairwise=True,
    )
    return -float(np.asarray(values)[0, 0])


def _by_mir_eval(estimate: np.ndarray, reference: np.ndarray) -> float:
    from mir_eval.separation import bss_eval_sources

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # 0.9 will not have it
        # The other references change SIR and SAR, not SDR.
        ratios, *_ = bss_eval_sources(reference[None], estimate[None], compute_permutation=False)
    return float(ratios[0])


SDR_BACKENDS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "septool": _by_septool,
    "fast-bss-eval": _by_fast_bss_eval,
    "mir_eval": _by_mir_eval,
}


def check_sdr_backend(name: str) -> None:
    """Refuse a backend that is not known or not installed.

    Raises:
        UsageError: it is one of these.
    """
    if name not in SDR_BACKENDS:
        raise suggest("SDR backend", name, SDR_BACKENDS)
    if name == "mir_eval":
        try:
            import_module("mir_eval.separation")
        except ImportError:
            raise UsageError(
                "--sdr-backend mir_eval needs mir_eval before 0.9; install it with: pip install 'septool[mir-eval]'"
            ) from None
