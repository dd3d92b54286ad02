"""The extractors' losses in closed form."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.losses.extraction import compressed_l2, recognition, spectral_l2
from tests.losses.masking import Answers, spectra, voices

Loss = Callable[..., Tensor]


class Answer(Answers):
    """Gives one mask, whatever the enrolment."""

    def speaker(self, enrolment: Tensor) -> Tensor:
        return enrolment

    def mask(self, spectrum: Tensor, embedding: Tensor) -> Tensor:
        return self.answer


@pytest.mark.parametrize("loss", [spectral_l2, compressed_l2])
def test_the_ideal_mask_costs_nothing(loss: Loss) -> None:
    target, other = voices().unbind(1)
    mixture = target + other
    mask = spectra(target).abs() / spectra(mixture).abs()
    torch.testing.assert_close(loss(Answer(mask), mixture, target, target), torch.zeros(2), rtol=0, atol=1e-9)


def test_spectral_l2_in_closed_form() -> None:
    target, _ = voices().unbind(1)
    energy = spectra(target).abs().square().mean((1, 2))
    for scale in (0.0, 0.5, 3.0):
        model = Answer(torch.full((2, 51, 17), scale))
        torch.testing.assert_close(spectral_l2(model, target, target, target), (1 - scale) ** 2 * energy)


@pytest.mark.parametrize("loss", [spectral_l2, compressed_l2])
def test_a_small_step_lowers_it(loss: Loss) -> None:
    target, other = voices().unbind(1)
    model = Answer(torch.rand(2, 51, 17, generator=torch.Generator().manual_seed(0)))
    before = loss(model, target + other, target, target)
    assert before.shape == (2,)
    before.sum().backward()
    assert model.answer.grad is not None
    with torch.no_grad():
        model.answer.sub_(0.01 * model.answer.grad)
        model.answer.clamp_(min=0)
        assert loss(model, target + other, target, target).sum() < before.sum()


def test_silence_has_a_finite_slope() -> None:
    silence = torch.zeros(1, 400)
    model = Answer(torch.rand(1, 51, 17))
    loss = compressed_l2(model, silence, silence, silence)
    loss.sum().backward()
    assert loss.tolist() == [0.0]
    assert model.answer.grad is not None
    assert model.answer.grad.isfinite().all()


class Told(nn.Module):
    """Gives two outputs and the log-odds of each being the voice, whatever it hears."""

    def __init__(self, outputs: Tensor, odds: Tensor) -> None:
        super().__init__()
        self.outputs, self.odds = outputs, odds

    def speaker(self, enrolment: Tensor) -> Tensor:
        return enrolment

    def separate_and_match(self, mixture: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        return self.outputs, self.odds


def test_recognition_asks_for_the_output_that_is_the_voice_and_for_none_where_it_is_silent() -> None:
    target, other = voices().unbind(1)
    odds = torch.tensor([[-1.0, 2.0]]).expand(2, 2)
    model: Any = Told(torch.stack((other, target), dim=1), odds)
    surprise = F.softplus(torch.tensor([-1.0, -2.0])).sum()  # the second output is the voice, and is taken for it
    told = recognition(model, target + other, target, target, weight=2.0) - recognition(
        model, target + other, target, target, weight=1.0
    )
    torch.testing.assert_close(told, surprise.expand(2), rtol=1e-4, atol=1e-4)
    silent = recognition(model, other, torch.zeros_like(target), target)
    torch.testing.assert_close(silent, F.softplus(torch.tensor([-1.0, 2.0])).sum().expand(2))
