"""CAM++: features as Kaldi computes them, narrowband recordings, and the means of both bands."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio
from torch import Tensor

from septool import audio, catalogue, checkpoints
from septool.models.campplus import CONFIGS, CAMPlusPlus, Config, KaldiFilterbank, VoiceEncoder
from septool.signal.levels import at_model_level
from septool.signal.mel import hz_to_mel, mel_corners

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = Config(layers=(2, 2, 2), front=4, width=16, growth=8, bottleneck=16, embedding=6)
BELOW = int((mel_corners(80, 8000)[2:] <= hz_to_mel(3800)).sum())  # filters that end there or lower


def recording(samples: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples)) * 0.1


def voice(number: int, rate: int) -> Tensor:
    samples = audio.load_audio(EXAMPLES / f"two-talkers_s{number}.flac", 8000)[8000:24000]
    return torch.from_numpy(audio.resample(samples, 8000, rate))[None]


def encoder(config: Config = SMALL) -> VoiceEncoder:
    torch.manual_seed(0)
    return VoiceEncoder(config).eval()


def test_parameters_are_those_of_the_published_weights() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in CAMPlusPlus(CONFIGS["paper"]).parameters()) == 7_176_224


def test_features_are_those_of_kaldi() -> None:
    heard = recording(16000)
    expected = torchaudio.compliance.kaldi.fbank(heard, num_mel_bins=80, dither=0, sample_frequency=16000)
    torch.testing.assert_close(KaldiFilterbank(80, 16000)(heard)[0].log(), expected, rtol=1e-3, atol=1e-3)


def test_at_half_the_rate_it_hears_the_same_lower_half() -> None:
    low, high = (KaldiFilterbank(80, rate)(voice(1, rate)) for rate in (8000, 16000))
    assert low.shape == high.shape
    low, high = (energies[..., :BELOW].clamp(min=1e-7).log() for energies in (low, high))
    # Pre-emphasis reaches back a sample, which is twice as long: about a constant factor of each filter.
    low, high = (logarithms - logarithms.mean(1, keepdim=True) for logarithms in (low, high))
    assert (low - high).norm() < 0.1 * high.norm()


def test_at_half_the_rate_the_upper_filters_hear_nothing() -> None:
    energies = KaldiFilterbank(80, 8000)(recording(8000))
    above = torch.from_numpy(mel_corners(80, 8000)[:-2] >= hz_to_mel(4000))
    assert energies[..., above].count_nonzero() == 0
    assert (energies[..., :BELOW] > 0).all()


@torch.inference_mode()
def test_the_nearer_mean_is_taken_away_of_each_item_by_itself() -> None:
    length = voice(1, 16000).shape[-1]
    network, batch = encoder(), torch.cat((recording(length), voice(1, 16000), voice(2, 16000)))
    plain = network(batch)
    assert plain.norm(dim=-1).tolist() == pytest.approx([1.0, 1.0, 1.0])
    network.means.copy_(plain[:2])
    nearest = plain[:2][(plain[:, None] - plain[None, :2]).norm(dim=-1).argmin(1)]
    assert network(batch)[:2].abs().max() < 1e-6
    torch.testing.assert_close(network(batch), plain - nearest)


@torch.inference_mode()
def test_a_call_that_was_resampled_with_dither_is_narrowband() -> None:
    """What fills its upper half is noise of 16 bits, above that of a quiet wideband recording."""
    network, _ = checkpoints.load(catalogue.resolve_checkpoint("campplus")[1], CAMPlusPlus)
    telephone = voice(1, 8000)
    noise = torch.rand(2, 2 * telephone.shape[-1], generator=torch.Generator().manual_seed(0)).sum(0) - 1
    dithered = voice(1, 16000) + noise[: voice(1, 16000).shape[-1]] / 2**15
    alike = [network.embedding(at_model_level(each))[0] for each in (voice(1, 16000), dithered)]
    assert torch.cosine_similarity(*alike, dim=0) > 0.9
    other = network.embedding(at_model_level(voice(2, 16000)))[0]
    assert torch.cosine_similarity(alike[1], other, dim=0) < 0.4


@pytest.mark.parametrize("samples", [1, 100, 400, 700])
@torch.inference_mode()
def test_less_than_a_frame_or_little_more_has_an_embedding(samples: int) -> None:
    embedding = encoder()(recording(samples))
    assert embedding.shape == (1, SMALL.embedding)
    assert embedding.isfinite().all()


@torch.inference_mode()
def test_silence_has_an_embedding() -> None:
    assert encoder()(torch.zeros(1, 16000)).isfinite().all()


@torch.inference_mode()
def test_an_item_alone_is_the_same_item_in_a_batch() -> None:
    network, batch = encoder(), recording(40000, batch=3) * torch.tensor([[1.0], [0.1], [3.0]])
    torch.testing.assert_close(network(batch), torch.cat([network(item[None]) for item in batch]))


@torch.inference_mode()
def test_it_listens_at_8_khz_by_a_filterbank_of_that_rate() -> None:
    torch.manual_seed(0)
    model, high = CAMPlusPlus(SMALL).eval(), voice(1, 16000)
    expected, names = model(high), [*model.state_dict()]
    model.listen_at(8000)
    assert isinstance(model.embedding.filterbank, KaldiFilterbank)
    assert (model.rate, model.embedding.filterbank.hop) == (8000, 80)
    assert [*model.state_dict()] == names
    assert torch.cosine_similarity(model.embedding(voice(1, 8000)), expected) > 0.95


@pytest.mark.parametrize("rate", [44100, 11025, 16000])
@torch.inference_mode()
def test_it_listens_at_other_rates_by_resampling(rate: int) -> None:
    torch.manual_seed(0)
    model, heard = CAMPlusPlus(SMALL).eval(), recording(16000)
    filterbank, expected = model.embedding.filterbank, model(heard)
    model.listen_at(rate)
    assert model.rate == rate
    assert model.embedding.filterbank is filterbank
    there = torch.from_numpy(audio.resample(heard.numpy()[0], 16000, rate).astype(np.float32))[None]
    if rate >= 16000:  # below, the upper frequencies are missing
        assert torch.cosine_similarity(model.embedding(there), expected) > 0.95
    assert model.embedding(there).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate": 44100}, "rate is 44100; it is at most 16000"),
        ({"layers": (12, 24)}, r"layers are \(12, 24\) and dilations \(1, 2, 2\); there is one for each block"),
        ({"mels": 12}, "mels is 12; it is a multiple of 8"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Config(**settings)
