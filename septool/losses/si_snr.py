"""Minus SI-SNR, in the best order of the sources: the loss of every time-domain paper here."""

from functools import partial

from torch import Tensor

from septool.losses.pit import best_permutation
from septool.metrics.si_snr import si_snr

EPS = 1e-8  # keeps the gradient finite where an estimate or a reference is silent


def pit_si_snr_loss(*, estimate: Tensor, reference: Tensor) -> Tensor:
    """Loss of each item in dB, ``[batch]``; lower is better. Both are ``[batch, source, time]``."""
    return -best_permutation(partial(si_snr, eps=EPS), estimate=estimate, reference=reference).value
