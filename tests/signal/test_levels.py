"""Levels: closed forms, and silence left alone."""

import pytest
import torch

from septool.signal.levels import MODEL_LEVEL_DB, at_model_level, from_db, model_gain, rms, to_db


def test_decibels() -> None:
    assert [from_db(db) for db in (0, 20, -20, 6.0206)] == pytest.approx([1, 10, 0.1, 2], rel=1e-5)


def test_decibels_of_an_amplitude() -> None:
    assert [to_db(ratio) for ratio in (1, 10, 0.1, 2)] == pytest.approx([0, 20, -20, 6.0206], abs=1e-4)
    assert to_db(from_db(-3.7)) == pytest.approx(-3.7)
    with pytest.raises(ValueError, match=r"expected a positive|math domain"):
        to_db(0.0)


def test_root_mean_square() -> None:
    time = torch.arange(8000) / 8000
    tone = torch.sin(2 * torch.pi * 100 * time)
    torch.testing.assert_close(rms(torch.stack((tone, 3 * tone))), torch.tensor([[0.5**0.5], [3 * 0.5**0.5]]))


def test_every_item_is_brought_to_one_level_and_silence_is_left() -> None:
    noise = torch.randn(1000)
    mixture = torch.stack((noise, 1e-3 * noise, 1e-6 * noise, 0 * noise))
    gain = model_gain(mixture)
    torch.testing.assert_close(rms(mixture * gain)[:2], torch.full((2, 1), from_db(MODEL_LEVEL_DB)))
    assert gain[2:].tolist() == [[1.0], [1.0]]


def test_the_level_of_a_voice_is_set_without_its_offset() -> None:
    voice = 0.01 * torch.sin(torch.arange(8000.0) / 3)
    voice -= voice.mean()
    torch.testing.assert_close(at_model_level(voice + 0.2), at_model_level(voice), rtol=0, atol=1e-5)
    assert to_db(rms(at_model_level(voice)).item()) == pytest.approx(MODEL_LEVEL_DB)
