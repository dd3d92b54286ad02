"""SIR and SAR of BSS Eval 3: errors from other sources, and artifacts (Vincent et al., 2006)."""

# pyright: reportMissingTypeStubs=false

import math
import warnings

import fast_bss_eval
import numpy as np
from scipy.linalg import LinAlgError

from septool.metrics import UndefinedError
from septool.metrics.sdr import FILTER_LENGTH
from septool.metrics.si_snr import undefined_reason


def sir_item(*, estimate: np.ndarray, reference: np.ndarray, others: np.ndarray, rate: int) -> float:  # noqa: ARG001
    r"""SIR of one signal ``[time]`` in dB: :math:`10 \log_{10} \|P_j\hat s\|^2 / \|P\hat s - P_j\hat s\|^2`.

    :math:`P_j` projects on the reference and its 511 delays, :math:`P` on those of all references; higher is better.

    Args:
        estimate: ``[time]``.
        reference: ``[time]``.
        others: the other references of the item, ``[source, time]``.
        rate: Hz.

    Raises:
        UndefinedError: a silent signal, no other voice, or a ratio that is infinite.
    """
    own, all_voices = _shares(estimate, reference, others)
    if not np.any(others):
        raise UndefinedError("there is no other voice to interfere")
    return _ratio_db(own, all_voices - own, "nothing of another voice is in the estimate")


def sar_item(*, estimate: np.ndarray, reference: np.ndarray, others: np.ndarray, rate: int) -> float:  # noqa: ARG001
    r"""SAR of one signal ``[time]`` in dB, :math:`10 \log_{10} \|P\hat s\|^2 / \|\hat s - P\hat s\|^2`; see above.

    Raises:
        UndefinedError: a silent signal, or a ratio that is infinite.
    """
    _, all_voices = _shares(estimate, reference, others)
    return _ratio_db(all_voices, 1 - all_voices, "the estimate is made of the references alone")


def _shares(estimate: np.ndarray, reference: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Return which part of the estimate's energy lies in the reference's delays, and in those of all references."""
    if not np.ptp(reference) or not np.ptp(estimate):
        raise UndefinedError(undefined_reason(estimate, reference))
    voices = np.stack([reference, *(other for other in others if np.any(other))]).astype(np.float64)
    try:
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            own, all_voices = fast_bss_eval.numpy.square_cosine_metrics(
                voices, estimate[None].astype(np.float64), filter_length=FILTER_LENGTH, pairwise=True
            )
    except (LinAlgError, np.linalg.LinAlgError):
        raise UndefinedError("the references' 512 delays are linearly dependent") from None
    return float(own[0, 0]), float(all_voices[0, 0])


def _ratio_db(part: float, rest: float, reason: str) -> float:
    if not (part > 0 and rest > 0):  # also where a solution is no number
        raise UndefinedError(reason)
    return 10 * math.log10(part / rest)
