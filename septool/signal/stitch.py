"""Joining estimates of overlapping segments, with each voice kept on its own track.

A separator puts its outputs in no particular order, so the segments have to be aligned before they
are joined. Where all voices but one speak in the overlap, the waveforms there decide. Where more are silent
they cannot, and the mean spectrum of what each track has said so far helps.
"""

# pyright: reportMissingTypeStubs=false

from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np

BANDS = 40
FRAME = 256  # samples of the spectra that characterize a voice
SAME_SPEAKER_CORRELATION = 0.5  # in the overlap, from which two waveforms are of one voice
MOST_PERMUTED = 6  # voices of which every order is tried
CLEAR_MARGIN = 0.2  # difference of mean correlations from which the overlap alone decides


@dataclass(frozen=True)
class Seam:
    """How one segment was attached to what came before."""

    at: int  # sample at which the overlap begins
    order: tuple[int, ...]  # estimate that continues each track
    margin: float  # mean correlation in the overlap, the best order's over the second best's
    by: str  # "overlap", or "voice" where that left something open


@dataclass
class Stitcher:
    """Takes the estimates of successive segments, gives back what is final.

    ``push`` returns ``[source, time]`` up to the start of the next overlap, ``finish`` the rest.
    """

    overlap: int  # samples that two segments share
    ordered: bool = False  # each estimate is of a voice of its own in every segment: none is moved to another track
    seams: list[Seam] = field(default_factory=list[Seam])
    _tail: np.ndarray | None = None  # [source, time]
    _voices: np.ndarray | None = None  # [source, band], sum of log spectra
    _at: int = 0

    def push(self, estimate: np.ndarray) -> np.ndarray:
        """Attach the next segment, ``[source, time]`` with ``time > overlap``; return ``[source, time]``."""
        if self._tail is None:
            joined = estimate
        else:
            shared = min(self.overlap, self._tail.shape[1], estimate.shape[1])
            if not self.ordered:
                estimate = estimate[list(self._align(estimate, shared))]
            # Raised cosine, shifted by half a sample so that both sides add up to one.
            rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(shared, dtype=np.float32) + 0.5) / shared)
            crossfade = self._tail[:, :shared] * (1 - rise) + estimate[:, :shared] * rise
            joined = np.concatenate((crossfade, estimate[:, shared:]), axis=1)
        spectra = log_band_spectra(joined)
        self._voices = spectra if self._voices is None else self._voices + spectra
        end = max(joined.shape[1] - self.overlap, 0)
        self._tail = joined[:, end:]
        self._at += end
        return joined[:, :end]

    def finish(self) -> np.ndarray:
        """Return what is left after the last segment, ``[source, time]``."""
        assert self._tail is not None, "finish needs at least one push"
        tail, self._tail = self._tail, None
        return tail

    def _align(self, estimate: np.ndarray, shared: int) -> tuple[int, ...]:
        assert self._tail is not None
        assert self._voices is not None
        correlation = correlations(self._tail[:, :shared], estimate[:, :shared])
        order, margin = best_order(correlation)
        by = "overlap"
        if margin < CLEAR_MARGIN and len(order) > 1:
            by = "voice"
            similarity = correlations(_without_level(self._voices), _without_level(log_band_spectra(estimate)))
            # A waveform that continues in the overlap outweighs all spectra together.
            order, _ = best_order(similarity + 2 * len(order) * (correlation > SAME_SPEAKER_CORRELATION))
        self.seams.append(Seam(self._at, order, margin, by))
        return order


def correlations(tracks: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Cosine of every track with every estimate: two ``[source, time]`` to ``[track, estimate]``; 0 for silence."""
    norms = np.linalg.norm(tracks, axis=1)[:, None] * np.linalg.norm(estimates, axis=1)
    return (tracks @ estimates.T) / np.maximum(norms, 1e-9)


def best_order(scores: np.ndarray) -> tuple[tuple[int, ...], float]:
    """Return the order of estimates with the highest mean of ``scores [track, estimate]``, and its margin."""
    tracks = np.arange(len(scores))
    if len(tracks) > MOST_PERMUTED:
        return _best_assignment(scores)
    ranked = sorted(((scores[tracks, order].mean(), order) for order in permutations(tracks.tolist())), reverse=True)
    return ranked[0][1], float(ranked[0][0] - ranked[1][0]) if len(ranked) > 1 else 1.0


def _best_assignment(scores: np.ndarray) -> tuple[tuple[int, ...], float]:
    """Return what :func:`best_order` does, for more voices than all orders can be tried of.

    The second best order lacks at least one pair of the best one, so that it is the best of those that lack one.
    """
    import scipy.optimize  # for few models

    untyped: Any = scipy.optimize

    def best(allowed: np.ndarray) -> tuple[np.ndarray, float]:
        tracks, order = untyped.linear_sum_assignment(allowed, maximize=True)
        return order, float(allowed[tracks, order].mean())

    order, highest = best(scores)
    others: list[float] = []
    for track, estimate in enumerate(order):
        without = scores.astype(np.float64)
        without[track, estimate] = scores.min() - len(scores) * (np.ptp(scores) + 1)  # worse than all others together
        others.append(best(without)[1])
    return tuple(order.tolist()), highest - max(others)


def log_band_spectra(voices: np.ndarray) -> np.ndarray:
    """Sum of the log spectra of a voice's loud frames, in bands: ``[source, time] -> [source, band]``."""
    frames = np.lib.stride_tricks.sliding_window_view(
        np.pad(voices, ((0, 0), (0, max(FRAME - voices.shape[1], 0)))), FRAME, axis=1
    )[:, :: FRAME // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME).astype(np.float32), axis=2)) ** 2
    edges = np.array(sorted({*np.geomspace(1, FRAME // 2, BANDS + 1).astype(int)}))  # np.unique imports numpy.ma
    bands = np.add.reduceat(power[..., 1:], edges[:-1] - 1, axis=2)
    loud = power.sum(2, keepdims=True)
    loud = loud > 1e-3 * loud.max(axis=1, keepdims=True) + 1e-9  # within 30 dB of the loudest frame
    return (np.log(bands + 1e-9) * loud).sum(1) / np.maximum(loud.sum(1), 1) * np.sqrt(loud.sum(1))


def _without_level(spectra: np.ndarray) -> np.ndarray:
    """Take each voice's level out of ``[source, band]``; what all voices have in common tells no order from another."""
    return spectra - spectra.mean(axis=1, keepdims=True)
