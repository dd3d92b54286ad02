"""Speaker verification: scores of a speaker network on a list of trials."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from septool import audio
from septool.data.trials import Trial
from septool.errors import AudioError
from septool.inference.level import embed


def embed_recording(
    network: Callable[[Tensor], Tensor], path: Path, rate: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the embedding of a whole recording, of length 1: ``[embedding]``."""
    samples = audio.load_audio(path, rate)
    if not len(samples):
        raise AudioError(f"{path} has no samples")
    audio.check_finite(samples, path)
    voice = torch.from_numpy(samples).to(device)[None]
    return F.normalize(embed(network, voice), dim=-1)[0]


def score_trials(trials: Sequence[Trial], embeddings: Mapping[Path, Tensor]) -> np.ndarray:
    """Return the cosine of the two embeddings of each trial, ``[trial]``; ``embeddings`` are of length 1."""
    return np.array([float(embeddings[trial.first] @ embeddings[trial.second]) for trial in trials])
