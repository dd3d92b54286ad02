"""Every loss says what it computes."""

import pytest
import torch

from septool.losses import EQUATIONS, LOSSES, can_learn_by
from septool.losses.si_snr import negative_si_snr
from septool.models import MODELS
from septool.models.build import build_model
from tests.models.learning import WITHOUT_TRAINING
from tests.models.tiny import SPEAKER, TINY, TINY_EXTRACTORS

SIZES = TINY | TINY_EXTRACTORS | {"speaker-net": SPEAKER, "campplus": {}}


def test_every_loss_has_its_equation() -> None:
    assert set(EQUATIONS) == set(LOSSES)


def test_every_model_names_a_loss_that_exists() -> None:
    assert {MODELS[name].loss for name in MODELS} <= set(LOSSES)


@pytest.mark.parametrize(
    ("model", "losses"),
    [
        ("galr", {"si-snr", "snr"}),
        ("wavesplit", {"si-snr", "snr", "wavesplit"}),
        ("two-step-tdcn", {"si-snr", "snr", "two-step-autoencoder", "two-step-latent"}),
        ("upit-blstm-st", {"si-snr", "snr", "attractor", "magnitude", "phase-sensitive"}),
        ("atss-net", {"compressed-l2", "spectral-l2"}),
        ("speaker-net", {"additive-margin", "speaker-cross-entropy"}),
        ("campplus", set()),
    ],
)
def test_a_model_learns_by_the_losses_that_ask_for_nothing_it_lacks(model: str, losses: set[str]) -> None:
    with torch.device("meta"):
        network = build_model(model, SIZES[model])
    assert {name for name in LOSSES if can_learn_by(network, name)} == losses


@pytest.mark.parametrize("model", sorted({*MODELS} - WITHOUT_TRAINING))
def test_every_model_can_learn_by_its_own_loss(model: str) -> None:
    with torch.device("meta"):
        network = build_model(model, SIZES[model])
    assert can_learn_by(network, network.loss)


def test_silence_is_worse_than_what_is_mostly_noise() -> None:
    """As it is under the loss, so it is chosen: an output that has died is nobody's best."""
    voice, noise = torch.randn(2, 1, 1, 800)
    dead, poor = (negative_si_snr(estimate=each, reference=voice) for each in (torch.zeros_like(voice), noise))
    assert dead.item() == pytest.approx(80)
    assert poor.item() < 60
