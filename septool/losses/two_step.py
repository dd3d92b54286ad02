"""The losses of both steps of Tzinis et al. (ICASSP 2020), for the two-step TDCN."""

from functools import partial

import torch
from torch import Tensor

from septool.losses.pit import best_permutation
from septool.losses.si_snr import EPS
from septool.metrics.si_snr import si_snr
from septool.models.two_step_tdcn import TwoStepTDCN


def autoencoder(model: TwoStepTDCN, mixture: Tensor, sources: Tensor) -> Tensor:
    """Step 1: minus the SI-SDR in dB of waveforms decoded from ideally masked latents, ``[batch]``.

    The ideal masks are in the order of the sources, so no permutation is searched.
    """
    estimate = model.decoder(model.ideal_latents(mixture, sources), mixture.shape[-1])
    return -si_snr(estimate=estimate.float(), reference=sources.float(), eps=EPS).mean(-1)


def latent(model: TwoStepTDCN, mixture: Tensor, sources: Tensor) -> Tensor:
    """Step 2: minus the SI-SDR in dB of the estimated latents in the best order, ``[batch]``.

    Only the separator gets a gradient.
    """
    with torch.no_grad():
        latents, target = model.encode(mixture), model.ideal_latents(mixture, sources)
    score = partial(si_snr, zero_mean=False, eps=EPS)  # latents are not negative: their mean is no offset
    estimate = model.separate(latents)
    return -best_permutation(score, estimate=estimate.flatten(2).float(), reference=target.flatten(2).float()).value
