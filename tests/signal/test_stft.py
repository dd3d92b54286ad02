"""The short-time Fourier transform: exact inverse, and agreement with torch where torch is defined."""

import pytest
import torch
from torch import Tensor

from septool.signal.stft import Analysis, Window, istft, log_magnitude, mirror, stft


def signal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[-1]), dtype=torch.float64)


@pytest.mark.parametrize("samples", [1, 2, 7, 64, 1000, 1013])
@pytest.mark.parametrize("window", ["sqrt-hann", "hann", "rectangular"])
@pytest.mark.parametrize(("size", "hop", "length"), [(64, 16, None), (64, 32, None), (512, 160, 400)])
def test_the_inverse_is_exact(samples: int, window: Window, size: int, hop: int, length: int | None) -> None:
    how = Analysis(size, hop, length, window)
    x = signal(3, samples)
    spectrum = stft(x, how)
    assert spectrum.shape == (3, -(-samples // hop) + 1, how.bins)
    torch.testing.assert_close(istft(spectrum, how, samples), x, rtol=0, atol=1e-12)


def test_the_inverse_is_exact_in_single_precision_at_the_edges() -> None:
    # The last frame's centre is at the last sample or behind it, so nothing is divided by the foot of a window.
    how = Analysis(256, 128)
    x = signal(1, 1151).float()
    torch.testing.assert_close(istft(stft(x, how), how, 1151), x, rtol=0, atol=2e-6)


def test_equal_to_torch_where_the_hop_divides_the_length() -> None:
    x, window = signal(2, 1024), torch.hann_window(64, dtype=torch.float64).sqrt()
    theirs = torch.stft(x, 64, 16, window=window, return_complex=True)
    torch.testing.assert_close(stft(x, Analysis(64, 16)), theirs.mT)


def test_leading_axes_are_kept() -> None:
    how, x = Analysis(32, 8), signal(2, 3, 101)
    spectrum = stft(x, how)
    torch.testing.assert_close(spectrum[1, 2], stft(x[1, 2], how))
    torch.testing.assert_close(istft(spectrum, how, 101), x)


def test_mirror_reflects_about_the_end_samples() -> None:
    assert mirror(torch.tensor([1, 2, 3]), 3, 5).tolist() == [2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2]
    assert mirror(torch.tensor([4]), 2, 1).tolist() == [4, 4, 4, 4]


def test_log_magnitude_of_silence_is_finite() -> None:
    assert log_magnitude(torch.zeros(2, 3, dtype=torch.complex64)).isfinite().all()


def test_log_magnitude_is_the_natural_logarithm() -> None:
    spectrum = torch.tensor([1.0 + 0j, 1j * torch.e, -(torch.e**3)])
    torch.testing.assert_close(log_magnitude(spectrum), torch.tensor([0.0, 1.0, 3.0]))
