"""Speaker verification: scores of a speaker network on a list of trials."""

from collections.abc import Callable, Sequence
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


@torch.inference_mode()
def score_trials(
    network: Callable[[Tensor], Tensor], trials: Sequence[Trial], rate: int, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Return the cosine of the two embeddings of each trial, ``[trial]``; a recording is embedded once."""
    known = {path: embed_recording(network, path, rate, device) for path in sorted({p for t in trials for p in t[1:]})}
    return np.array([float(known[trial.first] @ known[trial.second]) for trial in trials])
