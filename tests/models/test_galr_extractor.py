"""The extractor made of GALR: a separator's weights fit it, and the speaker network chooses."""

import pytest
import torch
from torch import Tensor, nn

from septool.config import build
from septool.losses import LOSSES
from septool.models import galr
from septool.models.galr_extractor import CONFIGS, Config, GALRExtractor
from tests.models.test_extractors import recording
from tests.models.tiny import SPEAKER, TINY


def tiny() -> GALRExtractor:
    torch.manual_seed(0)
    return GALRExtractor(build(Config, TINY["galr"] | {"speaker": SPEAKER})).eval()


class Pitch(nn.Module):
    """Knows two voices by how fast they go up and down."""

    def forward(self, waves: Tensor) -> Tensor:
        crossings = (waves[..., 1:] * waves[..., :-1] < 0).float().mean(-1)
        return torch.stack((crossings - 0.2, torch.full_like(crossings, 0.02)), dim=-1)


class Apart(nn.Module):
    """Takes two known voices apart, the second first."""

    def __init__(self, voices: Tensor) -> None:
        super().__init__()
        self.voices = voices

    def forward(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        return self.voices.flip(0)[None].expand(len(mixture), -1, -1)


@pytest.fixture
def voices() -> Tensor:
    time = torch.arange(800) / 8000
    return torch.stack([torch.sin(2 * torch.pi * pitch * time) for pitch in (300, 1500)])


@pytest.fixture
def model(voices: Tensor) -> GALRExtractor:
    model = tiny()
    model.add_module("speaker", Pitch())
    model.add_module("separator", Apart(3 * voices))
    return model


@pytest.mark.parametrize(("row", "count"), [("8k", 3_192_678), ("16k", 3_200_870)])
def test_parameters(row: str, count: int) -> None:
    with torch.device("meta"):
        model = GALRExtractor(CONFIGS[row])
    assert sum(p.numel() for p in model.parameters()) == count
    assert sum(p.numel() for p in model.speaker.parameters()) == 732_784


def test_it_starts_as_the_separator_whose_weights_it_takes() -> None:
    torch.manual_seed(1)
    separator = galr.GALR(build(galr.Config, TINY["galr"])).eval()
    model = tiny()
    left = model.separator.load_state_dict(separator.state_dict(), strict=False)
    assert left.unexpected_keys == []
    assert {key.split(".")[0] for key in left.missing_keys} == {"adaptations"}
    mixture = recording(1000)
    with torch.inference_mode():
        torch.testing.assert_close(model.separator(mixture, torch.randn(1, 5)), separator(mixture), rtol=0, atol=0)


def test_the_voice_is_the_output_that_sounds_like_the_enrollment(model: GALRExtractor, voices: Tensor) -> None:
    mixture = voices.sum(0)[None].expand(2, -1)
    found = model.extract_with_score(mixture, model.speaker(voices))
    torch.testing.assert_close(found.voice, voices, rtol=0, atol=0.02)  # at its level in the mixture, too
    absent = model.extract_with_score(mixture, torch.tensor([[0.0, -1.0]] * 2))
    assert (found.presence > absent.presence + 5).all()


def test_its_loss_in_closed_form(model: GALRExtractor, voices: Tensor) -> None:
    loss = LOSSES["recognition"]
    hiss = torch.arange(800) % 2 * 2 - 1.0
    model.add_module("separator", Apart(3 * voices + hiss * torch.tensor([[0.3], [0.6]])))
    mixture, enrollment = voices.sum(0)[None], voices[:1]
    _, odds = model.separate_and_match(mixture, model.speaker(enrollment))
    silent = loss(model, mixture, torch.zeros_like(mixture), enrollment)
    torch.testing.assert_close(silent[0], torch.log1p(odds[0].exp()).sum())
    present = loss(model, mixture, voices[:1], enrollment)
    surprise = torch.log1p(odds[0, 0].exp()) + torch.log1p((-odds[0, 1]).exp())  # the second output is the voice
    ratios = torch.tensor([9 / 2 / 0.3**2, 9 / 2 / 0.6**2])
    torch.testing.assert_close(present[0], surprise - 10 * ratios.log10().mean(), rtol=0, atol=0.01)


def test_nothing_moves_an_output_to_sound_like_the_voice() -> None:
    model = tiny()
    _, odds = model.separate_and_match(recording(800), model.speaker(recording(4000)))
    odds.sum().backward()
    assert all(p.grad is None for p in model.separator.parameters())
    assert model.slope.grad is not None
