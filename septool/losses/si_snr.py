"""Negative SI-SNR with permutation-invariant training: the loss of every time-domain paper here."""

from functools import partial
from typing import Any

from torch import Tensor

from septool.losses.pit import best_permutation
from septool.metrics.si_snr import si_snr
from septool.models.base import Separator

EPS = 1e-8  # keeps the gradient finite where an estimate or a reference is silent


def pit_si_snr(model: Separator[Any], mixture: Tensor, sources: Tensor) -> Tensor:
    """Loss of each item in dB, ``[batch]``; lower is better."""
    return negative_si_snr(estimate=model(mixture), reference=sources)


def negative_si_snr(*, estimate: Tensor, reference: Tensor) -> Tensor:
    """Minus the mean SI-SNR of each item in the best order, in float32; both ``[batch, source, time]``."""
    score = partial(si_snr, eps=EPS)
    return -best_permutation(score, estimate=estimate.float(), reference=reference.float()).value
