"""Test-time averaging: several passes over a recording, each slightly shifted, whose voices are averaged.

Each pass delays the recording a little more than the previous one, and every second pass inverts its sign, which is
inaudible but changes a network's errors. Averaging over shifts is the "shift trick" of Demucs (Defossez et al., 2019).
"""

from typing import TYPE_CHECKING

import numpy as np

from septool.inference.level import ArrayEstimator, extract_at_model_level
from septool.signal.stitch import SAME_SPEAKER_CORRELATION, best_order, correlations

if TYPE_CHECKING:  # ONNX Runtime does without torch
    from torch import Tensor

    from septool.models.base import Extraction, Extractor

DELAY = 143  # samples from pass to pass; odd, so that strides and chunks of a model start at other samples each time


def average_passes(estimate: ArrayEstimator, passes: int) -> ArrayEstimator:
    """Return an estimator whose voices are the means of those of several passes.

    Args:
        estimate: maps ``[batch, time]`` to ``[batch, voice, time]``, voices in any order and at the recording's level.
        passes: how many; as many times as much is computed.
    """
    if passes == 1:
        return estimate

    return lambda mixture: add_passes(estimate, mixture, estimate(mixture), passes)


def add_passes(estimate: ArrayEstimator, mixture: np.ndarray, voices: np.ndarray, passes: int) -> np.ndarray:
    """Return the means of the voices of a first pass and those of further passes.

    Args:
        estimate: as for :func:`average_passes`.
        mixture: ``[batch, time]``.
        voices: estimates of the first pass, ``[batch, voice, time]``, whose order the means keep.
        passes: number of passes including the first.
    """
    total = voices
    for number in range(1, passes):
        delay, sign = _delay_and_sign(number)
        estimates = estimate(np.pad(np.float32(sign) * mixture, ((0, 0), (delay, 0))))
        total = total + _in_order_of(total, np.float32(sign) * estimates[..., delay:])
    return total / np.float32(passes)


def extract_mean(model: "Extractor", mixture: "Tensor", embeddings: "Tensor", passes: int) -> "Extraction":
    """Extract known voices by several passes.

    Each voice is averaged over the passes that agree with the most confident one; others may have extracted another
    speaker.

    Args:
        model: the extractor.
        mixture: ``[batch, time]`` at any level, around any offset.
        embeddings: enrollments of the target voices, ``[voice, embedding]``.
        passes: number of passes, to which the computation is proportional.

    Returns:
        The voices, ``[batch, voice, time]``, and their mean presence, ``[batch, voice]``.
    """
    import torch

    from septool.models.base import Extraction

    if passes == 1:
        return extract_at_model_level(model, mixture, embeddings)
    extractions: list[Extraction] = []
    for number in range(passes):
        delay, sign = _delay_and_sign(number)
        padded = torch.nn.functional.pad(sign * mixture, (delay, 0))
        voice, presence = extract_at_model_level(model, padded, embeddings)
        extractions.append(Extraction(sign * voice.float()[..., delay:], presence.float()))
    voices, presences = (torch.stack(parts) for parts in zip(*extractions, strict=True))  # [pass, batch, voice, ...]
    surest = voices.take_along_dim(presences.argmax(0)[None, ..., None], dim=0)
    alike = torch.nn.functional.cosine_similarity(voices, surest, dim=-1) > SAME_SPEAKER_CORRELATION
    alike |= presences == presences.amax(0)  # includes the most confident pass if it is silent
    return Extraction((voices * alike[..., None]).sum(0) / alike.sum(0)[..., None], presences.mean(0))


def _delay_and_sign(number: int) -> tuple[int, int]:
    """Return the delay in samples and the sign of a pass; passes are numbered from 0."""
    return number * DELAY, (-1) ** number


def _in_order_of(reference: np.ndarray, voices: np.ndarray) -> np.ndarray:
    """Permute ``[batch, voice, time]`` to match the order of other estimates of the same mixtures."""
    orders = [best_order(correlations(*item))[0] for item in zip(reference, voices, strict=True)]
    return np.stack([item[list(order)] for item, order in zip(voices, orders, strict=True)])
