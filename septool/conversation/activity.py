"""Speech activity in the two tracks of a separator: silence, one speaker on one track, or two speakers at once.

Where a single speaker talks, a separator with two outputs leaks: the second track holds a quiet copy, or the voice is
split between both tracks. The energy of the leakage does not distinguish it from a quiet second speaker, but its
time-frequency overlap with the other track does. Eight such features enter a logistic regression.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_closing, binary_opening, convolve1d
from scipy.signal import stft

from septool.conversation.frame_grid import FRAME_S, FrameGrid
from septool.signal.levels import power_to_db

LOW_HZ, HIGH_HZ = 60.0, 3400.0  # telephone band, which is below the Nyquist frequency of every checkpoint
SMOOTHING_S = (0.15, 0.5, 1.0)  # lengths over which features are averaged
# Fitted by tools/fit_overlap.py: features in the order of ``overlap_features``, then the constant.
WEIGHTS = np.array([-0.067, -0.019, 0.156, 0.142, -2.738, -2.652, -1.383, -1.819, 6.079])
SPEECH_RANGE_DB = 40.0  # frames this far below the loud parts of a recording are not speech
NOISE_MARGIN_DB = 9.0  # speech is at least this far above the quietest tenth of a recording
SILENT_DB = -80.0  # relative to full scale; frames below are never speech
LOUDEST_FLOOR_DB = 15.0  # frames within this of the loud parts are always speech
SHORTEST_S = 0.2  # minimum duration of speech, and of overlap


class Activity(NamedTuple):
    """Speech activity of each frame."""

    speech: np.ndarray  # [frame], at least one speaker is active
    both: np.ndarray  # [frame], two speakers are active
    louder: np.ndarray  # [frame], the track with more energy around the frame


def magnitudes(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return magnitudes of the speech band, ``[..., time]`` to ``[..., bin, frame]``, a frame every hop."""
    size = 2 * FrameGrid(rate).hop
    missing = max(size - samples.shape[-1], 0)
    samples = np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(0, missing)])
    frequencies, _, spectrum = stft(samples, rate, nperseg=size, noverlap=size // 2)
    return np.abs(spectrum[..., (frequencies >= LOW_HZ) & (frequencies <= HIGH_HZ), :])


def smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    """Average ``[frame]`` over a duration around each frame.

    Each average has its own sum: a running sum would not return to zero in the silence after loud speech.
    """
    frames = 2 * round(seconds / FRAME_S) + 1  # an odd number, with as many before as after
    return convolve1d(values, np.full(frames, 1 / frames))


def overlap_features(mixture: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """Return features that distinguish two speakers from one with leakage, ``[frame, 8]``.

    Args:
        mixture: :func:`magnitudes` of the mixture, ``[bin, frame]``.
        tracks: those of both outputs of the separator, ``[2, bin, frame]``.
    """
    first, second = tracks
    shapes = [np.sqrt(magnitude) - np.sqrt(magnitude).mean(0) for magnitude in (first, second)]
    features: dict[str, np.ndarray] = {}
    for name, seconds in zip(("short", "middle", "long"), SMOOTHING_S, strict=True):

        def mean(energy: np.ndarray, seconds: float = seconds) -> np.ndarray:
            return smooth(energy.sum(0), seconds)

        power_a, power_b = mean(first**2), mean(second**2)
        features[f"level {name}"] = power_to_db(
            (np.minimum(power_a, power_b) + 1e-10) / (np.maximum(power_a, power_b) + 1e-10)
        )
        features[f"cosine {name}"] = mean(first * second) / np.sqrt(power_a * power_b + 1e-20)
        features[f"correlation {name}"] = mean(shapes[0] * shapes[1]) / np.sqrt(
            mean(shapes[0] ** 2) * mean(shapes[1] ** 2) + 1e-20
        )
        share = mean(mixture**2 * (first > second)) / (
            mean(mixture**2) + 1e-12
        )  # share of the energy where track 0 is louder
        features[f"share {name}"] = np.log(np.minimum(share, 1 - share) + 1e-3)
    chosen = (
        *("share short", "share long", "level short", "level long"),
        *("cosine long", "correlation middle", "cosine short", "correlation short"),
    )
    return np.stack([features[name] for name in chosen], axis=1)


def is_speech(level_db: np.ndarray, loud_db: float, quiet_db: float) -> np.ndarray:
    """Return which levels ``[frame]``, in dB, are speech, relative to the loud and quiet parts of the recording."""
    floor = max(loud_db - SPEECH_RANGE_DB, min(quiet_db + NOISE_MARGIN_DB, loud_db - LOUDEST_FLOOR_DB))
    return level_db >= max(floor, SILENT_DB)


def frame_levels(spectrum: np.ndarray) -> np.ndarray:
    """Return the level of each frame of magnitudes ``[bin, frame]`` in dB, averaged over 0.15 s, ``[frame]``."""
    energy = (spectrum**2).sum(0)
    return power_to_db(smooth(energy, SMOOTHING_S[0]) + 1e-12)


def score_overlap(mixture: np.ndarray, tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the log odds of two speakers in each frame, if any is active, and the louder track, ``[frame]``.

    Args:
        mixture: :func:`magnitudes` of the mixture, ``[bin, frame]``.
        tracks: those of both outputs of the separator, ``[2, bin, frame]``.
    """
    log_odds = overlap_features(mixture, tracks) @ WEIGHTS[:-1] + WEIGHTS[-1]
    first, second = (smooth((track**2).sum(0), SMOOTHING_S[1]) for track in tracks)
    return log_odds.astype(np.float32), (second > first).astype(np.int8)


def close_gaps(mask: np.ndarray, frames: int) -> np.ndarray:
    """Fill gaps of up to a number of frames in ``[frame]``."""
    if frames < 1:
        return mask
    return binary_closing(np.pad(mask, frames), np.ones(frames + 1))[frames:-frames]


def drop_islands(mask: np.ndarray, frames: int) -> np.ndarray:
    """Remove segments shorter than a number of frames from ``[frame]``."""
    return binary_opening(mask, np.ones(frames)) if frames > 1 else mask


def spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the segments in which ``[frame]`` is true, as first frames and frames after the last."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(np.int8), 1)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def smooth_activity(activity: Activity, grid: FrameGrid) -> Activity:
    """Remove overlaps, and gaps between overlaps, that are too short."""
    shortest = round(grid.frames(SHORTEST_S))
    return activity._replace(both=drop_islands(close_gaps(activity.both, shortest), shortest) & activity.speech)
