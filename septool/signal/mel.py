"""The mel scale, and Kaldi's triangular filters on it."""

# pyright: reportMissingTypeStubs=false

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:  # for the types alone: mixing needs the scale without torch
    from torch import Tensor

LOWEST_HZ = 20.0  # foot of the lowest triangle, as Kaldi has it


def hz_to_mel(hertz: ArrayLike) -> np.ndarray:
    """Kaldi's mel scale of frequencies ``[...]``: ``1127 ln(1 + f / 700)``."""
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def mel_filterbank(count: int, points: int, rate: int) -> "Tensor":
    """Weights of ``count`` triangles from :data:`LOWEST_HZ` to half the sample rate, straight on the mel scale.

    Args:
        count: number of filters.
        points: size of the Fourier transform, even.
        rate: samples a second.

    Returns:
        ``[bin, filter]`` for a spectrum of ``points // 2 + 1`` bins.
    """
    # Imported here: only speaker networks need them.
    import torch
    from torch.nn.functional import pad
    from torchaudio.compliance import kaldi

    unwarped = (100.0, -500.0, 1.0)  # vocal tract length normalisation, which is off
    device = torch.get_default_device()
    with torch.device("cpu"):  # Kaldi's functions on the meta device import torch's compiler, for seconds
        filters, _ = kaldi.get_mel_banks(count, points, float(rate), LOWEST_HZ, 0.0, *unwarped)
    return pad(filters, (0, 1)).mT.contiguous().to(device)  # half the rate is in no triangle
