"""Manifests to train on."""

from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.tasks.prepare import prepare

RATE = 8000


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train-speech, fixed-2mix (nine mixtures) and dev-2mix (two) of four voices that glide."""
    folder = tmp_path_factory.mktemp("training")
    random = np.random.default_rng(0)
    for speaker in range(4):
        for utterance in range(2):
            time = np.arange(RATE * 2 - 1000 * speaker) / RATE
            pitch = (90 + 45 * speaker) * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(1, 3) * time))
            phase = 2 * np.pi * np.cumsum(pitch) / RATE
            voice = sum(np.sin(k * phase) / k for k in range(1, 9)) * (np.sin(2 * np.pi * 3 * time) > -0.5)
            path = folder / "tree" / f"speaker{speaker}" / f"{utterance}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write_audio(path, (0.05 * voice).astype(np.float32), RATE)
    prepare("folder", folder / "tree", out=folder / "data", split="train")
    prepare("folder", folder / "tree", out=folder / "data", split="fixed", mixtures=9)
    prepare("folder", folder / "tree", out=folder / "data", split="dev", mixtures=2)
    return folder / "data"
