"""Mel filters: where they stand and how they overlap."""

import numpy as np
import torch
from torchaudio.compliance import kaldi

from septool.signal.mel import hz_to_mel, mel_corners, mel_filterbank


def test_neighbours_add_up_to_one_between_the_outer_centres() -> None:
    filters = mel_filterbank(20, 4096, 16000)
    hertz = np.arange(2049) * 16000 / 4096
    places = mel_corners(20, 8000)
    inside = torch.from_numpy((hz_to_mel(hertz) > places[1]) & (hz_to_mel(hertz) < places[-2]))
    torch.testing.assert_close(filters[inside].sum(1), torch.ones(int(inside.sum())))
    assert filters[torch.from_numpy(hertz < 20)].abs().max() == 0
    assert filters[-1].abs().max() < 1e-6


def test_peaks_are_equally_far_apart_on_the_mel_scale() -> None:
    filters = mel_filterbank(12, 8192, 16000)
    peaks = hz_to_mel(filters.argmax(0).numpy() * 16000 / 8192)
    np.testing.assert_allclose(np.diff(peaks), np.diff(peaks).mean(), rtol=0.02)


def test_every_filter_of_the_speaker_features_hears_something() -> None:
    assert (mel_filterbank(64, 512, 16000).amax(0) > 0.2).all()


def test_filters_are_those_of_kaldi() -> None:
    expected, _ = kaldi.get_mel_banks(64, 512, 16000.0, 20.0, 0.0, 100.0, -500.0, 1.0)
    torch.testing.assert_close(mel_filterbank(64, 512, 16000)[:-1].mT, expected, atol=1e-5, rtol=0)


def test_filters_of_a_lower_rate_are_those_of_the_higher_one_as_far_as_it_reaches() -> None:
    torch.testing.assert_close(mel_filterbank(80, 256, 8000, 8000.0), mel_filterbank(80, 512, 16000)[:129])
