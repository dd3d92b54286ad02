"""Any separator extracts: a speaker network says which of its outputs is the wanted voice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from septool import catalogue, checkpoints
from septool.errors import UsageError
from septool.inference.cascade import Cascade, load_extractor
from septool.inference.voiceprints import network_digest
from septool.models import SPEAKER_MODEL
from septool.models.base import SpeakerEncoder
from tests.conftest import Command, voice


class FromFunction(nn.Module):
    """A network that is a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, waves: Tensor) -> Tensor:
        return self.function(waves)


def crossings(waves: Tensor) -> Tensor:
    """Know voices by how fast they go up and down."""
    share = (waves[..., 1:] * waves[..., :-1] < 0).float().mean(-1)
    return torch.stack((share - 0.2, torch.full_like(share, 0.02)), dim=-1)


@pytest.fixture
def voices() -> Tensor:
    time = torch.arange(800) / 8000
    return torch.stack([torch.sin(2 * torch.pi * pitch * time) for pitch in (300, 1500)])


@pytest.fixture
def cascade(voices: Tensor) -> Cascade:
    """Takes the two voices apart, the second first and at a scale of its own, and knows them."""
    apart = FromFunction(lambda mixture: 3 * voices.flip(0)[None].expand(len(mixture), -1, -1))
    return Cascade(apart, FromFunction(crossings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return load_encoder()


def load_encoder() -> SpeakerEncoder:
    return checkpoints.load(catalogue.resolve_checkpoint("speaker-net")[1], SpeakerEncoder)[0]


def test_the_voice_is_the_output_that_sounds_like_the_enrollment(cascade: Cascade, voices: Tensor) -> None:
    mixture = voices.sum(0)[None].expand(2, -1)
    found = cascade.extract_with_score(mixture, cascade.speaker(voices))
    torch.testing.assert_close(found.voice, voices, rtol=0, atol=0.02)  # at its level in the mixture, too
    torch.testing.assert_close(found.presence, torch.ones(2))
    absent = cascade.extract_with_score(mixture, torch.tensor([[0.0, -1.0]] * 2))
    assert (absent.presence < 0.2).all()


def test_several_voices_are_chosen_from_one_separation(cascade: Cascade, voices: Tensor) -> None:
    mixture = torch.stack((voices.sum(0), 0.5 * voices.sum(0)))
    known = torch.cat((cascade.speaker(voices), torch.tensor([[0.0, -1.0]])))
    separated = []
    cascade.separator.register_forward_hook(lambda *_: separated.append(1))
    found = cascade.extract_each(mixture, known)
    assert len(separated) == 1
    for number, embedding in enumerate(known):
        voice, presence = cascade.extract_with_score(mixture, embedding.expand(2, -1))
        torch.testing.assert_close(found.voice[:, number], voice)
        torch.testing.assert_close(found.presence[:, number], presence)


def test_levels_and_cosines_are_as_in_single_precision(cascade: Cascade, voices: Tensor) -> None:
    mixture, embedding = voices.sum(0)[None], cascade.speaker(voices[:1])
    expected = cascade.extract_with_score(mixture, embedding)
    with torch.autocast("cpu", torch.bfloat16):
        found = cascade.extract_with_score(mixture, embedding)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_network_hears_recordings_of_other_rates(encoder: SpeakerEncoder) -> None:
    alone, digest = torch.from_numpy(voice(110, rate=8000)[None]), network_digest(encoder.embedding)
    other = load_encoder()
    with torch.inference_mode():
        expected = encoder.embedding(alone)
        for rate in (16000, 48000, 8000):  # one after the other
            other.listen_at(rate)
            found = other.embedding(torch.from_numpy(voice(110, rate=rate)[None]))
            assert torch.cosine_similarity(found, expected) > 0.98
    assert network_digest(other.embedding) == digest


def test_a_separator_is_loaded_as_an_extractor(tiny_checkpoint: Path) -> None:
    model, header = load_extractor(tiny_checkpoint)
    assert isinstance(model, Cascade)
    assert not model.training
    encoder, known = checkpoints.load(catalogue.resolve_checkpoint(SPEAKER_MODEL)[1], SpeakerEncoder)
    assert network_digest(model.speaker) == network_digest(encoder.embedding)
    assert header.presence_threshold == known.presence_threshold is not None


def test_an_extractor_takes_no_speaker_network(tiny_extractor: Path) -> None:
    with pytest.raises(UsageError, match="has a speaker network of its own"):
        load_extractor(tiny_extractor, SPEAKER_MODEL)


def test_the_speaker_network_can_be_chosen(septool: Command, call: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    common = ("-m", tiny_checkpoint, "--reference", call, "-d", "cpu", "--passes", 1)
    assert septool("extract", call, *common, "-o", tmp_path / "a.wav").status == 0
    result = septool("extract", call, *common, "--speaker-model", "speaker-net", "-o", tmp_path / "b.wav")
    assert result.status == 0
    refused = septool("extract", call, *common, "--speaker-model", "galr", "-o", tmp_path / "c.wav")
    assert "which does not recognize speakers" in refused.errors[-1]
