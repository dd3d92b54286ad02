"""Negative thresholded SNR with permutation-invariant training; defined for silent sources.

Items of fewer voices than the model has outputs leave some references silent, of which SI-SNR says nothing. Here they
have a loss of their own: how far below the mixture the output is.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from septool.losses.pit import best_permutation
from septool.models.base import Separator

MAX_SNR_DB = 30.0  # soft limit for a voice (Wisdom et al., 2020)
MAX_ATTENUATION_DB = 20.0  # soft limit for an output that should be silent, against the mixture (Wisdom et al., 2021)
EPS = 1e-8  # energy; keeps the loss of a silent mixture finite


def pit_snr(model: Separator[Any], mixture: Tensor, sources: Tensor) -> Tensor:
    """Loss of each item in dB, lower is better: ``[batch, time]`` and ``[batch, source, time]`` to ``[batch]``."""
    return negative_thresholded_snr(estimate=model(mixture), reference=sources, mixture=mixture)


def negative_thresholded_snr(*, estimate: Tensor, reference: Tensor, mixture: Tensor) -> Tensor:
    """Minus the mean :func:`thresholded_snr` of each item in the best order, in float32.

    Args:
        estimate: ``[batch, source, time]``.
        reference: ``[batch, source, time]``; any of them may be silent.
        mixture: ``[batch, time]``.

    Returns:
        ``[batch]``, in dB.
    """
    score = partial(thresholded_snr, mixture=mixture.float()[:, None, None])
    return -best_permutation(score, estimate=estimate.float(), reference=reference.float()).value


def thresholded_snr(*, estimate: Tensor, reference: Tensor, mixture: Tensor) -> Tensor:
    r"""SNR of estimates in dB with a soft threshold; how far below the mixture they are where the reference is silent.

    .. math::
        10 \log_{10} \frac{\|s\|^2}{\|s - \hat s\|^2 + \tau \|s\|^2}, \qquad
        10 \log_{10} \frac{\|x\|^2}{\|\hat s\|^2 + \tau_0 \|x\|^2} \text{ where } s = 0

    with :math:`\tau = 10^{-3}` and :math:`\tau_0 = 10^{-2}`. The first is the thresholded SNR of Wisdom et
    al. ("Unsupervised sound separation using mixture invariant training", NeurIPS 2020), the second the loss for
    inactive sources of Wisdom et al. ("What's all the FUSS about free universal sound separation data?", ICASSP 2021),
    here relative to the energy of the mixture, so that neither depends on the level.

    Args:
        estimate: ``[..., time]``.
        reference: ``[..., time]``, broadcast against ``estimate``.
        mixture: ``[..., time]``, broadcast against both.

    Returns:
        One value per item, ``[...]``: at most 30 dB for a voice, at most 20 dB for silence.
    """
    error, energy = (estimate - reference).square().sum(-1), reference.square().sum(-1)
    mixed = mixture.square().sum(-1)
    silent = energy <= 0
    wanted = torch.where(silent, mixed, energy) + EPS
    threshold = torch.where(silent, 10 ** (-MAX_ATTENUATION_DB / 10), 10 ** (-MAX_SNR_DB / 10))
    return 10 * (wanted / (error + threshold * wanted)).log10()
