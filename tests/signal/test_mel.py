"""Mel filters: where they stand and how they overlap."""

import numpy as np
import torch

from septool.signal.mel import hz_to_mel, mel_filterbank


def test_neighbours_add_up_to_one_between_the_outer_centres() -> None:
    filters = mel_filterbank(20, 4096, 16000)
    hertz = np.arange(2049) * 16000 / 4096
    places = np.linspace(hz_to_mel(20), hz_to_mel(8000), 22)
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
