"""The thresholded SNR: closed forms, silent references, order, gradients."""

import math

import pytest
import torch
from torch import Tensor, nn

from septool.losses import LOSSES
from septool.losses.snr import negative_thresholded_snr, thresholded_snr


@pytest.fixture
def voices() -> Tensor:
    """Two voices of equal energy that are orthogonal, ``[1, 2, time]``."""
    time = torch.arange(800, dtype=torch.float64) / 800
    return torch.stack([torch.sin(2 * math.pi * 5 * time), torch.sin(2 * math.pi * 9 * time)])[None]


def test_an_error_of_a_known_share_has_its_snr(voices: Tensor) -> None:
    first, second = voices[0]
    estimate, mixture = first + 0.1 * second, first + second
    value = thresholded_snr(estimate=estimate, reference=first, mixture=mixture)
    assert value.item() == pytest.approx(-10 * math.log10(0.01 + 0.001), abs=1e-6)
    # Unlike SI-SNR it knows the scale.
    halved = thresholded_snr(estimate=0.5 * first, reference=first, mixture=mixture)
    assert halved.item() == pytest.approx(-10 * math.log10(0.25 + 0.001), abs=1e-6)


def test_silence_is_scored_by_how_far_the_output_is_below_the_mixture(voices: Tensor) -> None:
    first, second = voices[0]
    silence = torch.zeros_like(first)
    for share, expected in ((1.0, 1.01), (0.1, 0.02), (0.0, 0.01)):
        value = thresholded_snr(estimate=share * second, reference=silence, mixture=first)
        assert value.item() == pytest.approx(-10 * math.log10(expected), abs=1e-6)


@pytest.mark.parametrize("gain", [1e-2, 1.0, 30.0])
def test_the_level_changes_nothing(voices: Tensor, gain: float) -> None:
    estimate, mixture = voices + 0.2 * voices.flip(1), voices.sum(1)
    reference = torch.stack([voices[:, 0], torch.zeros_like(voices[:, 0])], dim=1)
    plain = negative_thresholded_snr(estimate=estimate, reference=reference, mixture=mixture)
    scaled = negative_thresholded_snr(estimate=gain * estimate, reference=gain * reference, mixture=gain * mixture)
    assert scaled.item() == pytest.approx(plain.item(), abs=1e-4)


def test_one_voice_alone_goes_to_either_output(voices: Tensor) -> None:
    voice, silence = voices[:, 0], torch.zeros_like(voices[:, 0])
    reference = torch.stack([voice, silence], dim=1)
    for order in ((0, 1), (1, 0)):
        value = negative_thresholded_snr(estimate=reference[:, order], reference=reference, mixture=voice)
        assert value.item() == pytest.approx(-(30 + 20) / 2, abs=1e-3)
    both = negative_thresholded_snr(estimate=torch.stack([voice, voice], dim=1), reference=reference, mixture=voice)
    assert both.item() == pytest.approx(-(30 - 10 * math.log10(1.01)) / 2, abs=1e-3)


@pytest.mark.parametrize("silent", ["first", "both", "none", "mixture"])
def test_loss_and_gradient_are_finite(silent: str) -> None:
    torch.manual_seed(0)
    sources, estimate = 0.1 * torch.randn(3, 2, 400), (0.1 * torch.randn(3, 2, 400)).requires_grad_()
    if silent == "first":
        sources[:, 0] = 0
    elif silent != "none":
        sources[:] = 0
    mixture = torch.zeros(3, 400) if silent == "mixture" else sources.sum(1) + 0.01
    loss = negative_thresholded_snr(estimate=estimate, reference=sources, mixture=mixture)
    assert loss.shape == (3,)
    loss.sum().backward()
    assert estimate.grad is not None
    assert torch.isfinite(loss).all()
    assert torch.isfinite(estimate.grad).all()
    assert estimate.grad.abs().amax() > 0


def test_items_of_a_batch_have_losses_of_their_own() -> None:
    torch.manual_seed(1)
    sources = 0.1 * torch.randn(2, 2, 300)
    sources[1, 1] = 0

    class Halves(nn.Module):
        def forward(self, mixture: Tensor) -> Tensor:
            return torch.stack([0.7 * mixture, 0.3 * mixture], dim=1)

    loss = LOSSES["snr"]
    together = loss(Halves(), sources.sum(1), sources)
    alone = torch.cat([loss(Halves(), item.sum(0)[None], item[None]) for item in sources])
    torch.testing.assert_close(together, alone)
