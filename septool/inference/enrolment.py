"""What a voice is known by: recordings of it alone, checked and embedded, and the voice that is then extracted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from septool import audio
from septool.data import manifest
from septool.errors import AudioError, SeptoolError
from septool.inference.level import find
from septool.models.base import Extractor
from septool.signal.levels import from_db, model_gain, remove_dc

SILENT_DB = -80.0  # a reference whose loudest frame lies below this has no voice in it
SPEECH_DB = 30.0  # frames this far below the loudest one are pauses
SHORTEST = 1.0  # seconds of speech that a reference needs
LONGEST = 60.0  # seconds of a reference that are listened to, from its beginning


class Voice:
    """One stretch's estimate of a known voice, keeping the score of each."""

    def __init__(self, model: Extractor, embedding: Tensor, threshold: float | None) -> None:
        self.model, self.embedding, self.threshold = model, embedding, threshold
        self.scores: list[float] = []

    def __call__(self, mixture: Tensor) -> Tensor:
        """Map ``[1, time]`` to ``[1, 1, time]``."""
        voice, presence = find(self.model, mixture, self.embedding)
        self.scores.append(presence.item())
        if self.threshold is not None and self.scores[-1] < self.threshold:
            voice = torch.zeros_like(voice)
        return voice[:, None]


def read_reference(path: Path, rate: int, start: int = 0, frames: int = -1) -> np.ndarray:
    """Read a recording of the wanted voice, ``[time]`` at ``rate``; ``start`` and ``frames`` as in a manifest.

    Raises:
        AudioError: it cannot be read, or it holds too little of a voice.
    """
    own = audio.audio_info(path)
    longest = min(round(LONGEST * own.rate), own.frames - start)
    cut = longest < (own.frames - start if frames < 0 else frames)
    samples, _ = audio.read_audio(path, start, longest if frames < 0 else min(frames, longest))
    voice = audio.resample(audio.to_mono(samples), own.rate, rate)
    check_reference(voice, rate, f"reference {path}" + (f" (its first {LONGEST:g} s)" if cut else ""))
    return voice


def check_reference(voice: np.ndarray, rate: int, name: str) -> None:
    """Refuse a recording ``[time]`` that a voice cannot be known by.

    Raises:
        AudioError: it is silent, damaged, or holds too little of a voice.
    """
    audio.check_finite(voice, name)
    spoken = seconds_of_speech(voice, rate)
    if spoken is None:
        raise AudioError(f"{name} is silent; give a recording in which the voice speaks")
    if spoken < SHORTEST:
        raise AudioError(f"{name} has {spoken:.1f} s of speech; {SHORTEST:g} s are needed, 3 s are better")


def seconds_of_speech(voice: np.ndarray, rate: int) -> float | None:
    """Return how long a recording is without its pauses; None if it is silent."""
    size = rate // 100
    frames = np.resize(voice, (max(len(voice) // size, 1), size)) if len(voice) else np.zeros((1, 1))
    levels = np.sqrt(np.mean(np.square(frames), axis=1))
    if levels.max() < from_db(SILENT_DB):
        return None
    return float((levels > levels.max() * from_db(-SPEECH_DB)).sum()) / 100


@torch.inference_mode()
def embed(model: Extractor, references: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Return what a model knows a voice by, ``[1, embedding]``: the mean over its references."""
    waves = [remove_dc(torch.from_numpy(voice)[None].to(device)) for voice in references]
    return torch.stack([model.speaker(wave * model_gain(wave)).float() for wave in waves]).mean(0)


def reference_of(row: manifest.Mixture, rate: int) -> np.ndarray:
    """Read the enrolment of a manifest's row."""
    if row.enrolment is None:
        raise SeptoolError(f"mixture {row.id} has no enrolment")
    how = row.enrolment
    return read_reference(row.locate(how.path), rate, how.start, how.frames)
