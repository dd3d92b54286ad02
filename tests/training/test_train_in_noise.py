"""Training with noise and rooms: they are in the mixture, the noise is no source, and the run says what it used."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from septool import audio, checkpoints
from septool.data import manifest
from septool.data.manifest import Mixture, Source
from septool.data.mixing import load_augmentation_sources, sample_parts
from septool.data.speech_cache import load_pool
from septool.files import sha256_of
from septool.tasks.train import train
from septool.training.trainer import Trainer
from tests.training.runs import ALONE, lines, recipe

RATE = 8000


@pytest.fixture(scope="module")
def mixing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A noise and two impulse responses."""
    folder = tmp_path_factory.mktemp("noise")
    random = np.random.default_rng(0)
    response = random.standard_normal((2, 400)) * np.exp(-np.arange(400) / 60)
    sounds = {"hiss": 0.1 * random.standard_normal(RATE), "near": 0.1 * response[0], "far": 0.1 * response[1]}
    for name, sound in sounds.items():
        audio.write_audio(folder / f"{name}.wav", sound.astype(np.float32), RATE)
    for name, speaker in (("hiss", ["hiss"]), ("rooms", ["near", "far"])):
        rows = [Mixture(id=n, sample_rate=RATE, sources=(Source(path=f"{n}.wav", speaker="a"),)) for n in speaker]
        (folder / f"{name}.jsonl").write_text(manifest.dump_manifest(rows))
    background = {"manifest": str(folder / "hiss.jsonl"), "snr_db": [3.0, 3.0]}
    return {"backgrounds": [background], "rooms": {"manifest": str(folder / "rooms.jsonl"), "probability": 0.5}}


def test_the_loss_gets_the_mixture_with_noise_and_the_voices_without(
    manifests: Path, tmp_path: Path, mixing: dict[str, Any]
) -> None:
    how = recipe(manifests, mixing=mixing)
    run = Trainer(how, tmp_path, ALONE)
    seen: list[Tensor] = []

    def loss(model: nn.Module, mixture: Tensor, sources: Tensor) -> Tensor:
        seen.extend((mixture, sources))
        return mixture.mean(1)

    run.role.loss_function = loss  # type: ignore[assignment]
    speech = load_pool(manifests / "train-speech.jsonl", RATE)
    augmentation = load_augmentation_sources(how.mixing, RATE)
    parts = sample_parts(speech, how.mixing, augmentation, seed=0, epoch=0, index=0)
    run.role.losses_and_auxiliary(torch.from_numpy(parts)[None])
    mixture, sources = (each[0].numpy() for each in seen)
    assert sources.shape == (2, 2000)
    gain = sources[0, 500] / parts[0, 500]
    np.testing.assert_allclose(sources, gain * parts[:2], atol=1e-6)
    np.testing.assert_allclose(mixture - sources.sum(0), gain * parts[2], atol=1e-6)
    assert np.square(mixture).mean() == pytest.approx(0.01, rel=1e-4)


def test_workers_change_nothing_and_the_checkpoint_names_the_manifests(
    manifests: Path, tmp_path: Path, mixing: dict[str, Any]
) -> None:
    how = recipe(manifests, mixing=mixing)
    for jobs in (0, 2):
        train(how, tmp_path / str(jobs), jobs=jobs)
    assert lines(tmp_path / "0") == lines(tmp_path / "2")
    train(recipe(manifests), tmp_path / "clean")
    assert lines(tmp_path / "0") != lines(tmp_path / "clean")
    _, header = checkpoints.load(tmp_path / "0" / "best.safetensors")
    used = [how.data.train, how.data.validation, *how.mixing.manifests]
    assert len(used) == 4
    assert header.manifests == {path: sha256_of(Path(path)) for path in used}
