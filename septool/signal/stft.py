"""Short-time Fourier transform of signals of any length, with an exact inverse.

Frame ``i`` is centered on sample ``i * hop`` and the signal is mirrored at both ends, as in torch and
librosa. Here the last frame is centered on the last sample or behind it, whatever the length, so that no
sample lies under the foot of a window alone, where the inverse would divide by next to nothing.

Spectra are ``[..., frame, bin]``, the layout of recurrent and linear layers.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

FLOOR = 1e-8  # least magnitude before a logarithm

Window = Literal["sqrt-hann", "hann", "rectangular"]


@dataclass(frozen=True)
class Analysis:
    """How a signal is cut and weighted; the inverse uses the same window and divides by its square."""

    size: int  # points of the Fourier transform, even
    hop: int  # samples between frames
    length: int | None = None  # samples under the window, in the middle of ``size``; all of them by default
    window: Window = "sqrt-hann"

    def __post_init__(self) -> None:
        under = self.length or self.size
        if not 0 < self.hop <= under <= self.size:
            raise ValueError(
                f"frames of {self.size} points with a window of {under} samples every {self.hop}; "
                "the window fits into the frame, and frames leave no samples between them"
            )

    @property
    def bins(self) -> int:
        """Frequencies from zero to half the sample rate."""
        return self.size // 2 + 1


def stft(signal: Tensor, analysis: Analysis) -> Tensor:
    """Map ``[..., time]`` to a complex spectrum ``[..., frame, bin]`` with ``ceil(time / hop) + 1`` frames."""
    margin = analysis.size // 2
    mirrored = mirror(signal, margin, -signal.shape[-1] % analysis.hop + margin)
    spectrum = torch.stft(
        mirrored.reshape(-1, mirrored.shape[-1]),
        analysis.size,
        analysis.hop,
        analysis.length,
        _window(analysis, signal),
        center=False,
        return_complex=True,
    )
    return spectrum.mT.reshape(*signal.shape[:-1], -1, analysis.bins)


def istft(spectrum: Tensor, analysis: Analysis, samples: int) -> Tensor:
    """Map a complex spectrum ``[..., frame, bin]`` back to ``[..., samples]``."""
    untyped: Any = torch  # it says nothing of istft
    signal: Tensor = untyped.istft(
        spectrum.reshape(-1, *spectrum.shape[-2:]).mT,
        analysis.size,
        analysis.hop,
        analysis.length,
        _window(analysis, spectrum.real),
        length=samples,
    )
    return signal.reshape(*spectrum.shape[:-2], samples)


def log_magnitude(spectrum: Tensor) -> Tensor:
    """Natural logarithm of the magnitude, ``[...]``; :data:`FLOOR` (-160 dB) is added, so that silence is finite."""
    return torch.log(spectrum.abs() + FLOOR)


def mirror(signal: Tensor, front: int, back: int) -> Tensor:
    """Extend ``[..., time]`` by its reflection about the first and last sample, repeated as often as needed."""
    last = signal.shape[-1] - 1
    index = torch.arange(-front, last + 1 + back, device=signal.device) % max(2 * last, 1)
    return signal[..., last - (last - index).abs()]


def _window(analysis: Analysis, like: Tensor) -> Tensor:
    length = analysis.length or analysis.size
    if analysis.window == "rectangular":
        return like.new_ones(length)
    hann = torch.hann_window(length, dtype=like.dtype, device=like.device)
    return hann.sqrt() if analysis.window == "sqrt-hann" else hann
