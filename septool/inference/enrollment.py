"""What a voice is known by: references of it alone, checked and embedded, and the voice that is then extracted."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from septool import audio
from septool.data import manifest
from septool.errors import AudioError, SeptoolError
from septool.inference.findings import loudest_if_cancelling
from septool.inference.level import computing_in, extract_with_score
from septool.models.base import Extractor
from septool.printable import printable
from septool.signal.levels import from_db, model_gain, remove_dc

SILENCE_DB = -80.0  # a reference whose loudest frame lies below this has no voice in it
PAUSE_DB = 30.0  # frames this far below the loudest one are pauses
MIN_SPEECH_S = 1.0  # that a reference needs
MAX_REFERENCE_S = 60.0  # of a reference that are used, from its beginning


class KnownVoiceEstimator:
    """The estimate of a known voice in each segment, and the score of each."""

    def __init__(
        self, model: Extractor, embedding: Tensor, threshold: float | None, dtype: torch.dtype | None = None
    ) -> None:
        self.model, self.embedding, self.threshold, self.dtype = model, embedding, threshold, dtype
        self.scores: list[float] = []

    def __call__(self, mixture: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, 1, time]``; silence where the score is below the threshold."""
        with computing_in(self.dtype, mixture.device):
            voice, presence = extract_with_score(self.model, mixture, self.embedding.expand(len(mixture), -1))
        voice = voice.float()
        self.scores += presence.tolist()
        if self.threshold is not None:
            voice = voice.where(presence[:, None] >= self.threshold, 0.0)
        return voice[:, None]


def read_reference(
    path: Path, rate: int, start: int = 0, frames: int = -1, report: Callable[[str], None] = lambda _: None
) -> np.ndarray:
    """Read a recording of the wanted voice, ``[time]`` at ``rate`` Hz.

    Args:
        path: the recording.
        rate: Hz.
        start: samples of the file to skip.
        frames: samples of the file to read; all by default.
        report: callback for warnings.

    Raises:
        AudioError: it cannot be read, or it holds too little of a voice.
    """
    own = audio.audio_info(path)
    longest = min(round(MAX_REFERENCE_S * own.rate), own.frames - start)
    cut = longest < (own.frames - start if frames < 0 else frames)
    samples, _ = audio.read_audio(path, start, longest if frames < 0 else min(frames, longest))
    channel = loudest_if_cancelling(path)
    if channel is not None:
        report(f"{printable(path)}: its channels cancel each other; channel {channel}, the loudest, is used")
    voice = audio.resample(audio.to_mono(samples, channel), own.rate, rate)
    check_reference(voice, rate, f"reference {path}" + (f" (its first {MAX_REFERENCE_S:g} s)" if cut else ""))
    return voice


def check_reference(voice: np.ndarray, rate: int, name: str) -> None:
    """Refuse a recording ``[time]`` at ``rate`` Hz that a voice cannot be known by.

    Raises:
        AudioError: it is silent, damaged, or holds too little of a voice.
    """
    audio.check_finite(voice, name)
    spoken = speech_seconds(voice, rate)
    if spoken is None:
        raise AudioError(f"{name} is silent; give a recording in which the voice speaks")
    if spoken < MIN_SPEECH_S:
        raise AudioError(f"{name} has {spoken:.1f} s of speech; {MIN_SPEECH_S:g} s are needed, 3 s are better")


def speech_seconds(voice: np.ndarray, rate: int) -> float | None:
    """Return how long a recording ``[time]`` is without its pauses; None if it is silent."""
    size = rate // 100
    frames = np.resize(voice, (max(len(voice) // size, 1), size)) if len(voice) else np.zeros((1, 1))
    levels = np.sqrt(np.mean(np.square(frames), axis=1))
    if levels.max() < from_db(SILENCE_DB):
        return None
    return float((levels > levels.max() * from_db(-PAUSE_DB)).sum()) / 100


@torch.inference_mode()
def embed_references(model: Extractor, references: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Return what a model knows a voice by, ``[1, embedding]``: the mean over its references ``[time]``."""
    waves = [remove_dc(torch.from_numpy(voice)[None].to(device)) for voice in references]
    return torch.stack([model.speaker(wave * model_gain(wave)).float() for wave in waves]).mean(0)


def read_enrollment(row: manifest.Mixture, rate: int) -> np.ndarray:
    """Read the enrollment of a manifest's row, ``[time]`` at ``rate`` Hz.

    Raises:
        SeptoolError: it has none, or one that a voice cannot be known by.
    """
    enrollment = row.enrolment
    if enrollment is None:
        raise SeptoolError(f"mixture {row.id} has no enrollment")
    return read_reference(row.locate(enrollment.path), rate, enrollment.start, enrollment.frames)
