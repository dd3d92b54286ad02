"""Levels in and out of a model, and the device it runs on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import checkpoints
from septool.device import choose_device, enough_memory
from septool.errors import SeptoolError, UsageError
from septool.inference import level
from septool.inference.level import (
    extract_at_model_level,
    make_estimator,
    rescale_to_mixture,
    separate_at_model_level,
    share_residual,
)
from septool.models.base import Extractor
from septool.signal.levels import rms


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def test_a_model_hears_every_recording_at_one_level(tiny_checkpoint: Path) -> None:
    model, _ = checkpoints.load(tiny_checkpoint)
    mixture = 0.05 * noise(2, 800)
    with torch.inference_mode():
        plain = separate_at_model_level(model, mixture)
        for gain in (1e-2, 20.0):
            torch.testing.assert_close(
                separate_at_model_level(model, mixture * gain), plain * gain, rtol=1e-3, atol=1e-5 * gain
            )
        assert separate_at_model_level(model, torch.zeros(1, 100)).isfinite().all()
    heard = []
    model.register_forward_pre_hook(lambda _, given: heard.append(rms(given[0])))
    with torch.inference_mode():
        separate_at_model_level(model, mixture)
    torch.testing.assert_close(heard[0], torch.full((2, 1), 0.1))


def test_the_scales_of_the_voices_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level, "RIDGE", 1e-9)
    sources = noise(2, 3, 4000)
    gains = torch.tensor([[0.5, 2.0, -1.0], [3.0, 0.1, 1.0]])[..., None]
    mixture = (sources * gains).sum(1)
    scaled = rescale_to_mixture(mixture, sources * torch.tensor([10.0, 0.1, 1.0])[:, None])
    torch.testing.assert_close(scaled, sources * gains, rtol=1e-3, atol=2e-3)


def test_an_estimate_explains_a_recording_whatever_its_offset(tiny_checkpoint: Path) -> None:
    model, _ = checkpoints.load(tiny_checkpoint)
    mixture = 0.05 * noise(2, 800)
    mixture = mixture - mixture.mean(-1, keepdim=True)
    with torch.inference_mode():
        expected = rescale_to_mixture(mixture, separate_at_model_level(model, mixture))
        for offset in (0.0, 0.3, -0.9):
            torch.testing.assert_close(make_estimator(model)(mixture + offset), expected, rtol=1e-3, atol=1e-5)


def test_what_voices_leave_is_shared_by_their_energies() -> None:
    estimates = noise(2, 2, 1000) * torch.tensor([1.0, 0.5])[:, None]
    mixture = noise(2, 1000)
    shared = share_residual(mixture, estimates)
    torch.testing.assert_close(shared.sum(1), mixture)
    energy = estimates.square().sum(-1)
    given = (shared - estimates) / (mixture - estimates.sum(1))[:, None]
    torch.testing.assert_close(given[..., 0], energy / energy.sum(1, keepdim=True), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(share_residual(mixture, 0 * estimates), 0 * estimates)


def test_a_model_of_one_output_is_left_alone() -> None:
    class Half(torch.nn.Module):
        def forward(self, mixture: torch.Tensor) -> torch.Tensor:
            return mixture[:, None] + noise(1, 1, mixture.shape[-1])

    model: Any = Half()
    mixture = noise(1, 1000)
    found = [make_estimator(model, consistency=consistency)(mixture) for consistency in (False, True)]
    assert (found[1][:, 0] - mixture).abs().max() > 0.01


def test_two_equal_outputs_do_not_blow_each_other_up() -> None:
    voice = noise(1, 1, 4000)
    estimates = torch.cat((voice, voice + 1e-4 * noise(1, 1, 4000)), 1)
    scaled = rescale_to_mixture(voice[:, 0] + 0.01 * noise(1, 4000), estimates)
    torch.testing.assert_close(scaled, estimates / 2, rtol=0.02, atol=0.02)


def test_silence_stays_silence() -> None:
    assert not rescale_to_mixture(torch.zeros(1, 100), torch.zeros(1, 2, 100)).any()
    one = torch.stack((noise(100), torch.zeros(100)))[None]
    scaled = rescale_to_mixture(one[:, 0], one)
    torch.testing.assert_close(scaled, one, rtol=1e-3, atol=1e-3)


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("gpu", "meta", "xpu", ""):
        with pytest.raises(UsageError, match=f"unknown device '{name}'; it can be auto, cpu, cuda, cuda:N or mps"):
            choose_device(name)
    count = torch.cuda.device_count()
    with pytest.raises(UsageError, match=rf"device cuda:{count} is not there; this machine has {count} cuda device"):
        choose_device(f"cuda:{count}")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 bytes"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_lack_of_memory_is_worded(error: Exception) -> None:
    with pytest.raises(SeptoolError, match=r"^there is not enough memory for a song$"), enough_memory("for a song"):
        raise error


def test_a_processor_without_memory_is_worded() -> None:
    with pytest.raises(SeptoolError, match=r"^there is not enough memory for a song$"), enough_memory("for a song"):
        torch.empty(1 << 60)


@pytest.mark.parametrize(
    "said",
    [
        "shapes differ",
        "CUDA error: an illegal memory access was encountered",
        "more than one element of the written-to tensor refers to a single memory location",
    ],
)
def test_another_error_is_let_through(said: str) -> None:
    with pytest.raises(RuntimeError, match=said), enough_memory("for a song"):
        raise RuntimeError(said)


def test_an_extractor_hears_every_recording_at_one_level(tiny_extractor: Path) -> None:
    model, _ = checkpoints.load(tiny_extractor, Extractor)
    mixture = 0.05 * noise(2, 800)
    with torch.inference_mode():
        embedding = model.speaker(noise(2, 4000))
        plain = extract_at_model_level(model, mixture, embedding)
        for gain in (1e-2, 20.0):
            found = extract_at_model_level(model, mixture * gain, embedding)
            torch.testing.assert_close(found.voice, plain.voice * gain, rtol=1e-3, atol=1e-5 * gain)
            torch.testing.assert_close(found.presence, plain.presence, rtol=0, atol=1e-3)


def test_an_offset_changes_nothing(speech: np.ndarray, tiny_checkpoint: Path) -> None:
    model, _ = checkpoints.load(tiny_checkpoint)
    mixture = torch.from_numpy(speech.sum(0))[None]
    mixture = mixture - mixture.mean()
    with torch.inference_mode():
        expected = separate_at_model_level(model, mixture)
        for offset in (0.02, -0.3, 0.9):
            torch.testing.assert_close(separate_at_model_level(model, mixture + offset), expected, atol=1e-4, rtol=1e-3)
