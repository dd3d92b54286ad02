"""The reconstruction loss of Wavesplit (Zeghidour and Grangier, TASLP 2021).

The paper adds a loss of the speaker vectors and settles the order of the sources with it. Both take
the identities of the training speakers, which mixtures here do not carry: the order is the best one
instead, the same for all layers.
"""

import torch
from torch import Tensor

from septool.losses.pit import best_permutation
from septool.losses.si_snr import EPS
from septool.models.wavesplit import Wavesplit
from septool.signal.levels import energy_ratio_db

CEILING = 30.0  # dB; what is better than this does not count


def layerwise_sdr(model: Wavesplit, mixture: Tensor, sources: Tensor) -> Tensor:
    """Minus the mean clipped SDR in dB of the estimates of all layers, ``[batch]``; lower is better."""
    estimate = torch.stack(list(model.layer_estimates(mixture)), dim=2)  # [B, source, layer, T]
    return -best_permutation(_clipped_sdr, estimate=estimate.float(), reference=sources.float()[:, :, None]).value


def _clipped_sdr(*, estimate: Tensor, reference: Tensor) -> Tensor:
    """SDR in dB, not scale-invariant and at most ``CEILING``, averaged over the layers of ``[..., layer, time]``."""
    return energy_ratio_db(reference, estimate - reference, EPS).clamp(max=CEILING).mean(-1)
