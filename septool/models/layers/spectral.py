"""Mapping between complex spectra and features of bins, as in TF-GridNet and TF-Locoformer.

Features are ``[batch, frame, bin, channel]``. The channel stays last in memory, which is torch's channels-last layout
of a convolution's input: the permuted views below are no copies.
"""

import torch
from torch import Tensor, nn

from septool.models.layers.norms import GlobalLayerNorm


class SpectrumEncoder(nn.Module):
    """Real and imaginary part of 3x3 bins become the features of each, normalized over the whole item."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, channels, 3, padding=1)
        self.norm = GlobalLayerNorm(channels, eps=1e-5)

    def forward(self, spectrum: Tensor) -> Tensor:
        """Map complex ``[batch, frame, bin]`` to ``[batch, frame, bin, channel]``."""
        parts = torch.view_as_real(spectrum)  # [B, T, F, 2]
        return self.norm(self.convolution(parts.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class SpectrumDecoder(nn.Module):
    """The features of 3x3 bins become real and imaginary part of each source: no mask, the spectrum itself."""

    def __init__(self, channels: int, sources: int) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(channels, 2 * sources, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[batch, frame, bin, channel]`` to complex ``[batch, source, frame, bin]``."""
        parts = self.convolution(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # [B, T, F, 2 C]
        parts = parts.unflatten(-1, (-1, 2)).permute(0, 3, 1, 2, 4)  # [B, C, T, F, 2]
        # There are no complex numbers in sixteen bits.
        return torch.view_as_complex(parts.to(torch.promote_types(parts.dtype, torch.float32)).contiguous())
