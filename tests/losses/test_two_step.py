"""The two steps reach the halves of the network that they train, and measure what they say."""

import pytest
import torch
from torch import Tensor, nn

from septool.losses import LOSSES
from septool.models.two_step_tdcn import Config, TwoStepTDCN


@pytest.fixture
def model() -> TwoStepTDCN:
    torch.manual_seed(0)
    return TwoStepTDCN(Config(filters=16, bottleneck=12, hidden=20, blocks=2, repeats=1))


@pytest.fixture
def sources() -> Tensor:
    return torch.randn(3, 2, 400, generator=torch.Generator().manual_seed(0))


def reached(model: nn.Module, loss: Tensor) -> set[str]:
    loss.mean().backward()
    return {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum()}


def test_the_first_step_trains_encoder_and_decoder(model: TwoStepTDCN, sources: Tensor) -> None:
    loss = LOSSES["two-step-autoencoder"](model, sources.sum(1), sources)
    assert loss.shape == (3,)
    assert reached(model, loss) == {"encoder", "decoder"}


def test_the_second_step_trains_the_separator(model: TwoStepTDCN, sources: Tensor) -> None:
    loss = LOSSES["two-step-latent"](model, sources.sum(1), sources)
    assert loss.shape == (3,)
    assert reached(model, loss) == {"norm", "bottleneck", "blocks", "widen", "mask_norm", "mask"}


def test_the_second_step_does_not_care_for_the_order_of_the_sources(model: TwoStepTDCN, sources: Tensor) -> None:
    loss = LOSSES["two-step-latent"]
    with torch.no_grad():
        torch.testing.assert_close(loss(model, sources.sum(1), sources.flip(1)), loss(model, sources.sum(1), sources))


def test_the_second_step_is_lowest_where_the_separator_hits_its_target(
    model: TwoStepTDCN, sources: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():
        target = model.ideal_latents(sources.sum(1), sources)
        monkeypatch.setattr(model, "separate", lambda latents: target.flip(1) * 3)
        assert LOSSES["two-step-latent"](model, sources.sum(1), sources).max() < -80
        monkeypatch.setattr(model, "separate", lambda latents: target + target.mean())
        assert LOSSES["two-step-latent"](model, sources.sum(1), sources).min() > -20  # an offset is an error
