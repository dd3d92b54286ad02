"""Scale-invariant signal-to-noise ratio (SI-SNR, also SI-SDR with zero mean)."""

import math

import numpy as np
import torch
from torch import Tensor

from septool.metrics import UndefinedError
from septool.signal.levels import energy_ratio_db


def si_snr(*, estimate: Tensor, reference: Tensor, zero_mean: bool = True, eps: float = 0.0) -> Tensor:
    r"""SI-SNR of estimates in dB; higher is better.

    With both signals made zero-mean, :math:`s_t = \frac{\langle \hat s, s\rangle}{\|s\|^2} s` and
    :math:`10 \log_{10} \|s_t\|^2 / \|\hat s - s_t\|^2` (Luo and Mesgarani, 2018, equation 3; Le Roux
    et al., 2019).

    Args:
        estimate: ``[..., time]``.
        reference: ``[..., time]``, broadcast against ``estimate``.
        zero_mean: subtract the means first; without it is SI-SDR as Le Roux et al. define it.
        eps: added to the energies that are divided by, and to the ratio. 0 is the definition: a silent reference or a
            silent estimate gives nan and a perfect estimate inf. A loss needs about 1e-8 to be finite there.

    Returns:
        One value per item, ``[...]``.
    """
    if zero_mean:
        estimate = estimate - estimate.mean(-1, keepdim=True)
        reference = reference - reference.mean(-1, keepdim=True)
    energy = reference.square().sum(-1, keepdim=True) + eps
    target = (estimate * reference).sum(-1, keepdim=True) / energy * reference
    return energy_ratio_db(target, estimate - target, eps)


def si_snr_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:  # noqa: ARG001
    """SI-SNR of one signal ``[time]`` in float64.

    Raises:
        UndefinedError: the reference or the estimate is constant, or the estimate is exact or orthogonal to it.
    """
    if not np.ptp(reference) or not np.ptp(estimate):  # whose mean may not be taken off to exactly nothing
        raise UndefinedError(undefined_reason(estimate, reference))
    value = si_snr(estimate=torch.as_tensor(estimate), reference=torch.as_tensor(reference)).item()
    if value == -math.inf:
        raise UndefinedError("nothing of the reference is in the estimate")
    if not math.isfinite(value):
        raise UndefinedError(undefined_reason(estimate, reference))
    return value


def undefined_reason(estimate: np.ndarray, reference: np.ndarray) -> str:
    """Return why the energy ratio of two signals ``[time]`` has no finite value."""
    if not np.ptp(reference):
        return "the reference is silent"
    if not np.ptp(estimate):
        return "the estimate is silent"
    return "the estimate equals the reference"
