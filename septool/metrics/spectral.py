"""Log-spectral distance of two spectrograms (Gray and Markel, 1976)."""

import numpy as np

from septool.metrics import UndefinedError
from septool.metrics.si_snr import undefined_reason

WINDOW_S = 0.032
HOPS = 4  # in a window
RANGE_DB = 80.0  # below the loudest bin of the reference; what is quieter counts as that


def log_spectral_distance_item(*, estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:
    r"""Log-spectral distance of one signal ``[time]`` in dB; lower is better.

    The mean over frames of :math:`\sqrt{\frac{1}{F} \sum_f (10 \log_{10} P(f) / \hat P(f))^2}`, powers of Hann windows
    of 32 ms every 8 ms. Powers of both more than 80 dB below the loudest of the reference count as 80 dB below: the
    levels of digital silence would outweigh all others.

    Raises:
        UndefinedError: the reference or the estimate is silent, or shorter than a window.
    """
    if not np.ptp(reference) or not np.ptp(estimate):
        raise UndefinedError(undefined_reason(estimate, reference))
    size = round(WINDOW_S * rate)
    if len(reference) < size:
        raise UndefinedError("less than one window of 32 ms for a log-spectral distance")
    reference_power, estimate_power = (_powers(signal, size) for signal in (reference, estimate))
    floor = reference_power.max() * 10 ** (-RANGE_DB / 10)
    difference = 10 * np.log10(np.maximum(estimate_power, floor) / np.maximum(reference_power, floor))
    return float(np.sqrt(np.square(difference).mean(-1)).mean())


def _powers(signal: np.ndarray, size: int) -> np.ndarray:
    """Return the powers of whole windows, ``[frame, frequency]``."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[:: max(size // HOPS, 1)]
    window = np.hanning(size + 1)[:-1]
    return np.square(np.abs(np.fft.rfft(frames * window)))
