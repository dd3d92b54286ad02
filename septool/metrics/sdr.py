"""Signal-to-distortion ratio of BSS Eval 3 (Vincent, Gribonval and Fevotte, 2006)."""

import warnings

import fast_bss_eval
import numpy as np
from scipy.linalg import LinAlgError

from septool.metrics import UndefinedError
from septool.metrics.si_snr import undefined_reason

FILTER_LENGTH = 512  # samples of distortion that is forgiven


def sdr_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:  # noqa: ARG001
    r"""SDR of one signal ``[time]`` in dB; higher is better.

    :math:`10 \log_{10} \|P \hat s\|^2 / \|\hat s - P \hat s\|^2` with P the projection on the reference
    and its 511 delays. The numbers are those of ``mir_eval.separation.bss_eval_sources`` (to 1e-6 dB,
    see the tests), from fast_bss_eval's solver.

    Raises:
        UndefinedError: the reference or estimate is silent, or the ratio is infinite.
    """
    if not np.ptp(reference) or not np.ptp(estimate):
        raise UndefinedError(undefined_reason(estimate, reference))
    try:
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            # In pairs: the plain form does not run with numpy 2, and fast_bss_eval.sdr stops at an infinite value.
            values = fast_bss_eval.sdr_loss(
                estimate[None].astype(np.float64),
                reference[None].astype(np.float64),
                filter_length=FILTER_LENGTH,
                zero_mean=False,
                load_diag=None,
                clamp_db=None,
                use_cg_iter=None,
                pairwise=True,
            )
            value = -float(np.asarray(values)[0, 0])
    except (LinAlgError, np.linalg.LinAlgError):
        raise UndefinedError("the reference's 512 delays are linearly dependent") from None
    if not np.isfinite(value):
        raise UndefinedError(undefined_reason(estimate, reference))
    return value
