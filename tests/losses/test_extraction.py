"""The extractors' losses in closed form."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from septool.losses.extraction import compressed_l2, spectral_l2
from tests.losses.masking import Answers, spectra, voices

Loss = Callable[..., Tensor]


class Answer(Answers):
    """Gives one mask, whatever the enrollment."""

    def speaker(self, enrollment: Tensor) -> Tensor:
        return enrollment

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
