"""The GE2E voice encoder: features as others compute them, windows, and what the bundled weights know."""

from pathlib import Path

import pytest
import soxr
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional as F

from septool import audio, catalogue, checkpoints
from septool.models.ge2e import CONFIGS, GE2E, Config, VoiceEncoder
from septool.signal.levels import at_model_level

EXAMPLES = Path(__file__).parents[2] / "examples"


def recording(samples: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples)) * 0.1


def voice(number: int, start: float, end: float, rate: int = 8000) -> Tensor:
    samples = audio.load_audio(EXAMPLES / f"two-talkers_s{number}.flac", rate)
    return torch.from_numpy(samples[round(start * rate) : round(end * rate)])[None]


def test_parameters_are_those_of_the_published_weights() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in GE2E(CONFIGS["paper"]).parameters()) == 1_423_616


def test_features_are_mel_energies_at_one_level() -> None:
    heard = recording(16000)
    theirs = torchaudio.transforms.MelSpectrogram(
        16000, 400, hop_length=160, n_mels=40, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )
    expected = theirs(heard * 10 ** (-30 / 20) / heard.square().mean().sqrt()).mT
    for gain in (1.0, 0.01):
        found = VoiceEncoder(Config()).features(gain * heard)
        torch.testing.assert_close(found[:, 2:-2], expected[:, 2:-2], rtol=1e-3, atol=1e-7)


def test_at_half_the_rate_it_hears_the_same_lower_half() -> None:
    low = voice(1, 1.0, 3.0).numpy()[0]
    high = torch.from_numpy(soxr.resample(low, 8000, 16000))[None]
    found = VoiceEncoder(Config(rate=8000)).features(torch.from_numpy(low)[None])
    expected = VoiceEncoder(Config()).features(high)
    difference = (found - expected)[:, 5:-5, :24].norm() / expected[:, 5:-5, :24].norm()
    assert difference < 0.02
    assert found[..., -4:].count_nonzero() == 0


@pytest.mark.parametrize(
    ("frames", "starts"), [(50, [0]), (160, [0]), (161, [0, 1]), (240, [0, 80]), (300, [0, 70, 140])]
)
def test_windows_overlap_by_half_and_end_with_the_recording(frames: int, starts: list[int]) -> None:
    features = torch.arange(1.0, frames + 1)[None, :, None]
    windows = VoiceEncoder(Config())._cut(features)
    assert windows.shape == (1, len(starts), 160, 1)
    assert windows[0, :, 0, 0].tolist() == [start + 1.0 for start in starts]
    if frames < 160:
        assert windows[0, 0, frames:].count_nonzero() == 0


def test_what_all_voices_have_in_common_is_taken_away() -> None:
    torch.manual_seed(0)
    encoder, heard = VoiceEncoder(Config()).eval(), recording(16000, batch=2)
    with torch.inference_mode():
        plain = encoder(heard)
        assert plain.norm(dim=-1).tolist() == pytest.approx([1.0, 1.0])
        encoder.mean.copy_(plain[0])
        encoder.whitening.mul_(2.0)
        assert encoder(heard)[0].abs().max() < 1e-6
        torch.testing.assert_close(encoder(heard)[1], 2 * (plain[1] - plain[0]))


@torch.inference_mode()
def test_the_bundled_weights_tell_two_talkers_apart() -> None:
    model, header = checkpoints.load(catalogue.resolve_checkpoint("ge2e")[1], GE2E)
    assert header.licence == "Apache-2.0"
    pieces = [(number, voice(number, start, start + 2.5)) for number in (1, 2) for start in (0.2, 2.7, 5.2)]
    embeddings = [(who, F.normalize(model.embedding(at_model_level(piece))[0], dim=0)) for who, piece in pieces]
    pairs = [(a == b, float(x @ y)) for i, (a, x) in enumerate(embeddings) for b, y in embeddings[:i]]
    assert min(cosine for same, cosine in pairs if same) > 0.2 + max(cosine for same, cosine in pairs if not same)


def test_a_rate_above_that_of_the_filters_is_refused() -> None:
    with pytest.raises(ValueError, match="rate is 44100; it is at most 16000"):
        Config(rate=44100)
