"""Scoring of voices that were just separated against reference recordings."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from septool import audio
from septool.errors import SeptoolError
from septool.inference.streaming import EstimateSettings
from septool.scoring.items import IMPROVEMENT, score_improvement


class Improvement(NamedTuple):
    """How much closer to its reference an output is than the recording."""

    si_snri: float | None  # dB
    reason: str = ""  # why there is none


def read_references(references: Sequence[Path], mixture: Path, settings: EstimateSettings) -> torch.Tensor:
    """Read the true voices at the recording's rate, ``[source, time]`` in float64; ``settings`` are its own.

    Raises:
        AudioError: one of them cannot be read, or the recording is a named pipe.
        SeptoolError: they are not as long as the recording.
    """
    audio.refuse_pipe(mixture)  # it is read for the separation and for the scores, too
    recording, rate = _read_mixture(mixture, settings)
    true = [audio.load_audio(path, rate, whole=True) for path in references]
    for path, voice in zip(references, true, strict=True):
        if len(voice) != recording.shape[1]:
            raise SeptoolError(f"{path} has {len(voice)} samples at {rate} Hz, {mixture} has {recording.shape[1]}")
    return torch.from_numpy(np.stack(true)).double()


def score_outputs(
    mixture: Path,
    outputs: Sequence[Path],
    true: torch.Tensor,
    settings: EstimateSettings,
    cancelling: int | None = None,
) -> tuple[Improvement, ...]:
    """SI-SNRi in dB of each output over the recording, at the reference that fits it in the best order.

    Undefined with the reason that ``eval`` gives: all are if a voice is lost.

    All are brought to the model's rate: what the model cannot hear says nothing of how well it separates,
    and published scores are at that rate.

    Args:
        mixture: the recording.
        outputs: files of its voices.
        true: what :func:`read_references` returned, ``[source, time]``.
        settings: how the voices were estimated.
        cancelling: the channel that was used because all together cancel each other.
    """
    rate = settings.model_rate

    def at_scoring_rate(samples: np.ndarray, file_rate: int) -> torch.Tensor:
        return torch.from_numpy(audio.resample(samples, file_rate, rate)).double()

    mixed, file_rate = _read_mixture(mixture, settings)
    mixed = at_scoring_rate(audio.to_mono(mixed, settings.channel_number or cancelling), file_rate)
    voices = torch.stack([at_scoring_rate(voice, file_rate) for path in outputs for voice in audio.read_audio(path)[0]])
    true = torch.stack([at_scoring_rate(voice, file_rate) for voice in true.numpy()])
    item = score_improvement(voices, true, mixed, rate)
    if item.error:
        return (Improvement(None, item.error),) * len(voices)
    improvements = [Improvement(None, "no reference is left for it")] * len(voices)
    for index, gain, reason in zip(item.order, item.scores[IMPROVEMENT], item.reasons[IMPROVEMENT], strict=True):
        improvements[index] = Improvement(None, reason or "") if gain is None else Improvement(round(gain, 2))
    return tuple(improvements)


def _read_mixture(mixture: Path, settings: EstimateSettings) -> tuple[np.ndarray, int]:
    with audio.open_audio(mixture, track=settings.track, raw=settings.raw) as file:
        return file.read(), file.rate
