"""The speaker network: its size, its features, and that it learns to tell speakers apart."""

import pytest
import torch
from torch import Tensor

from septool.losses import LOSSES
from septool.losses.speaker import additive_margin
from septool.models.layers.speaker import SpeakerEmbedding, SpeechFeatures, keep_frames
from septool.models.speaker_net import CONFIGS, Config, SpeakerNet

TINY = Config(mels=16, widths=(4, 6, 8, 8), blocks=(1, 1, 1, 1), embedding=5, speakers=3)


def recording(samples: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples)) * 0.1


def test_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in SpeakerNet(CONFIGS["paper"]).parameters()) == 889_003


def test_frames_without_speech_are_left_out() -> None:
    sequence = torch.arange(6.0)[None, :, None].expand(2, 6, 1)
    wanted = torch.tensor([[False, True, False, True, True, False], [True] * 6])
    assert keep_frames(sequence, wanted)[..., 0].tolist() == [[1, 3, 4, 1, 3, 4], [0, 1, 2, 3, 4, 5]]


def test_a_pause_changes_little() -> None:
    torch.manual_seed(0)
    model = SpeakerEmbedding(CONFIGS["paper"]).eval()
    speech = recording(16000)
    paused = torch.cat((speech[:, :8000], torch.zeros(1, 16000), speech[:, 8000:]), dim=-1)
    with torch.inference_mode():
        whole, broken = model(speech), model(paused)
    assert (whole - broken).norm() < 0.05 * whole.norm()


def test_features_do_not_depend_on_the_level() -> None:
    features = SpeechFeatures(CONFIGS["paper"])
    speech = recording(8000)
    assert features(speech).shape == (1, 51, 64)
    torch.testing.assert_close(features(10 * speech), features(speech), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_are_numbers_in_mixed_precision(dtype: torch.dtype) -> None:
    features = SpeechFeatures(CONFIGS["paper"])
    wave = recording(8000)
    for quiet in (torch.zeros_like(wave), 1e-4 * wave):
        with torch.autocast("cpu", dtype):
            heard = features(quiet)
        assert heard.isfinite().all()
        torch.testing.assert_close(heard, features(quiet))


@pytest.mark.parametrize("samples", [1, 399, 5000])
def test_any_length_gives_an_embedding_with_gradients(samples: int) -> None:
    for speech in (recording(samples, 2), torch.zeros(2, samples)):
        model = SpeakerNet(TINY).train()
        LOSSES[model.loss](model, speech, torch.tensor([0, 2])).mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    model = SpeakerNet(TINY).train()
    loss = LOSSES[model.loss](model, recording(5000, 2), torch.tensor([0, 2]))
    assert loss.shape == (2,)
    loss.mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_frozen_embedding_is_not_trained() -> None:
    model = SpeakerEmbedding(TINY, frozen=True).train()
    assert not model.training
    assert not any(part.training or p.requires_grad for part in model.modules() for p in part.parameters())


def test_it_learns_to_tell_voices_apart() -> None:
    torch.manual_seed(0)
    model = SpeakerNet(TINY).train()
    time = torch.arange(4000) / 16000
    pitch = torch.tensor([300.0, 900.0, 2700.0])[:, None]
    voices = torch.sin(2 * torch.pi * pitch * time) + 0.1 * torch.randn(3, 4000)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(30):
        loss = LOSSES[model.loss](model, voices, torch.arange(3)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_the_margin_is_taken_from_the_cosine_of_the_right_speaker_alone() -> None:
    torch.manual_seed(0)
    model, waves, speaker = SpeakerNet(TINY).eval(), recording(4000, 3), torch.tensor([0, 2, 1])
    with torch.no_grad():
        losses = additive_margin(model, waves, speaker, margin=0.3, scale=10.0)
        embedding, weight = model.embedding(waves), model.classifier.weight.detach()
    cosines = torch.nn.functional.cosine_similarity(embedding[:, None], weight[None], dim=-1)
    for item, right in enumerate(speaker.tolist()):
        scores = 10 * cosines[item]
        scores[right] -= 3
        assert float(losses[item]) == pytest.approx(float(scores.exp().sum().log() - scores[right]), rel=1e-3)
