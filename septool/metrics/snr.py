"""Signal-to-noise ratio: any difference from the reference, its level included, is noise."""

import math

import numpy as np

from septool.metrics import UndefinedError
from septool.metrics.si_snr import undefined_reason


def snr_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:  # noqa: ARG001
    r"""SNR of one signal ``[time]`` in dB: :math:`10 \log_{10} \|s\|^2 / \|\hat s - s\|^2`; higher is better.

    Raises:
        UndefinedError: the reference or the estimate is constant, or the estimate is exact.
    """
    if not np.ptp(reference) or not np.ptp(estimate):
        raise UndefinedError(undefined_reason(estimate, reference))
    noise = estimate - reference
    signal_energy, noise_energy = float(reference @ reference), float(noise @ noise)
    if not noise_energy or not signal_energy:
        raise UndefinedError(undefined_reason(estimate, reference))
    return 10 * math.log10(signal_energy / noise_energy)
