"""Mask losses in closed form: ideal masks, orders of the voices, a step downhill."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from septool.losses.attractor import attractor, wiener
from septool.losses.mask_approximation import (
    magnitude_approximation,
    phase_sensitive,
    phase_sensitive_approximation,
    pit_error,
)
from tests.losses.masking import Answers, spectra, voices

Loss = Callable[..., Tensor]


def ideal(loss: Loss, sources: Tensor) -> Tensor:
    """The masks that the loss asks for."""
    apart, mixed = spectra(sources), spectra(sources.sum(1))
    if loss is attractor:
        return wiener(apart)
    target = apart.abs() if loss is magnitude_approximation else phase_sensitive(mixed, apart)
    return target / mixed[:, None].abs()


LOSSES = [magnitude_approximation, phase_sensitive_approximation, attractor]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_ideal_masks_cost_nothing_in_any_order(loss: Loss, count: int) -> None:
    sources = voices(count)
    masks = ideal(loss, sources)
    for turned in (masks, masks.roll(1, dims=1)):
        torch.testing.assert_close(loss(Answers(turned), sources.sum(1), sources), torch.zeros(2), rtol=0, atol=1e-9)


def test_a_voice_has_the_share_of_a_bin_that_it_has_in_the_energy() -> None:
    sources = torch.tensor([3.0, 4j, 0.0])[None, :, None, None]
    torch.testing.assert_close(wiener(sources)[0, :, 0, 0], torch.tensor([9.0, 16.0, 0.0]) / 25)
    assert not wiener(torch.zeros(1, 2, 1, 1, dtype=torch.complex64)).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_order_of_the_voices_changes_nothing(loss: Loss) -> None:
    sources = voices(3)
    model = Answers(torch.rand(2, 3, 51, 17, generator=torch.Generator().manual_seed(0)))
    values = loss(model, sources.sum(1), sources)
    assert values.shape == (2,)
    torch.testing.assert_close(loss(model, sources.sum(1), sources[:, [2, 0, 1]]), values)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_small_step_lowers_it(loss: Loss) -> None:
    sources = voices()
    model = Answers(torch.rand(2, 2, 51, 17, generator=torch.Generator().manual_seed(0)))
    before = loss(model, sources.sum(1), sources).sum()
    before.backward()
    assert model.answer.grad is not None
    with torch.no_grad():
        model.answer.sub_(0.1 * model.answer.grad)
        assert loss(model, sources.sum(1), sources).sum() < before


def test_phase_sensitive_magnitudes_add_up_to_the_mixture() -> None:
    sources = voices(3)
    mixed = spectra(sources.sum(1))
    torch.testing.assert_close(phase_sensitive(mixed, spectra(sources)).sum(1), mixed.abs(), rtol=1e-4, atol=1e-4)
    assert phase_sensitive(torch.zeros_like(mixed), spectra(sources)).abs().max() == 0


def test_pit_error_in_closed_form() -> None:
    reference = torch.tensor([0.0, 3.0])[None, :, None, None].expand(1, 2, 4, 5)
    estimate = torch.tensor([1.0, 2.0])[None, :, None, None].expand(1, 2, 4, 5).flip(1)
    assert pit_error(estimate, reference).tolist() == [1.0]
    assert pit_error(3 * estimate, reference, power=1).tolist() == [3.0]


def test_a_silent_recording_has_a_finite_loss() -> None:
    silence = torch.zeros(1, 2, 400)
    for loss in LOSSES:
        assert loss(Answers(torch.rand(1, 2, 51, 17)), silence.sum(1), silence).tolist() == [0.0]
