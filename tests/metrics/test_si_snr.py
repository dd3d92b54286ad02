"""SI-SNR: the definition's closed forms, and no number where there is none."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from septool.metrics import UndefinedError
from septool.metrics.si_snr import si_snr, si_snr_item


def orthogonal(db: float, samples: int = 1000) -> tuple[Tensor, Tensor]:
    """A reference, and it with zero-mean noise orthogonal to it, ``db`` below it."""
    random = torch.Generator().manual_seed(0)
    reference, noise = torch.randn(2, samples, generator=random, dtype=torch.float64)
    reference, noise = reference - reference.mean(), noise - noise.mean()
    noise -= (noise @ reference) / (reference @ reference) * reference
    noise *= reference.norm() / noise.norm() * 10 ** (-db / 20)
    return reference + noise, reference


@pytest.mark.parametrize("db", [-30.0, 0.0, 7.5, 100.0])
def test_orthogonal_noise_at_a_set_ratio(db: float) -> None:
    estimate, reference = orthogonal(db)
    assert si_snr(estimate=estimate, reference=reference).item() == pytest.approx(db, abs=1e-9)


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (-7.0, 0.0), (1.0, 5.0), (0.2, -3.0)])
def test_scale_sign_and_offset_change_nothing(scale: float, offset: float) -> None:
    estimate, reference = orthogonal(10.0)
    for one, other in ((estimate * scale + offset, reference), (estimate, reference * scale + offset)):
        assert si_snr(estimate=one, reference=other).item() == pytest.approx(10.0, abs=1e-8)


def test_the_mean_may_be_kept() -> None:
    # An error of length 1 at right angles to a target of length 2.
    value = si_snr(estimate=torch.tensor([2.0, 1.0]), reference=torch.tensor([4.0, 0.0]), zero_mean=False)
    assert value.item() == pytest.approx(10 * math.log10(4))


def test_one_value_for_each_item_and_pairs_by_broadcasting() -> None:
    ten, reference = orthogonal(10.0)
    twenty, _ = orthogonal(20.0)
    estimates = torch.stack((ten, twenty))
    torch.testing.assert_close(
        si_snr(estimate=estimates, reference=reference), torch.tensor([10.0, 20.0], dtype=torch.float64)
    )
    pairs = si_snr(estimate=estimates[None], reference=torch.stack((reference, ten))[:, None])
    assert pairs.shape == (2, 2)
    assert pairs[0].tolist() == pytest.approx([10, 20])
    assert pairs[1, 0] > 100


def test_epsilon_is_the_loss_and_not_the_metric() -> None:
    silence = torch.zeros(100, dtype=torch.float64)
    sound = torch.randn(100, dtype=torch.float64)
    assert si_snr(estimate=sound, reference=silence).isnan()
    assert si_snr(estimate=silence, reference=sound).isnan()
    assert si_snr(estimate=sound, reference=silence, eps=1e-8).isfinite()
    sound.requires_grad_()
    si_snr(estimate=sound * 0, reference=silence, eps=1e-8).backward()
    assert sound.grad is not None
    assert sound.grad.isfinite().all()


@pytest.mark.parametrize(
    ("estimate", "reference", "reason"),
    [
        (np.arange(9.0), np.zeros(9), "the reference is silent"),
        (np.arange(9.0), np.full(9, 0.5), "the reference is silent"),
        (np.arange(9.0) ** 0.5, np.full(9, 0.1), "the reference is silent"),  # whose mean is not quite 0.1
        (np.full(9, 0.1), np.arange(9.0) ** 0.5, "the estimate is silent"),
        (np.zeros(9), np.arange(9.0), "the estimate is silent"),
        (np.zeros(9), np.zeros(9), "the reference is silent"),
        (np.arange(9.0), np.arange(9.0), "the estimate equals the reference"),
        (np.array([1.0, -1, 1, -1]), np.array([1.0, 1, -1, -1]), "nothing of the reference is in the estimate"),
    ],
)
def test_where_there_is_no_value(estimate: np.ndarray, reference: np.ndarray, reason: str) -> None:
    with pytest.raises(UndefinedError) as error:
        si_snr_item(estimate=estimate, reference=reference, rate=8000)
    assert str(error.value) == reason
