"""Every loss says what it computes."""

import inspect

import pytest
import torch

from septool.losses import DEFINITIONS, LOSSES, can_learn_by, extraction, snr
from septool.losses.chimera import chimera
from septool.losses.si_snr import negative_si_snr
from septool.losses.speaker import additive_margin
from septool.losses.wavesplit import CEILING
from septool.models import MODELS
from septool.models.build import build_model
from tests.models.learning import WITHOUT_TRAINING
from tests.models.tiny import SPEAKER, TINY, TINY_EXTRACTORS

SIZES = TINY | TINY_EXTRACTORS | {"speaker-net": SPEAKER, "campplus": {}}


def test_equations_have_the_constants_of_the_code() -> None:
    equations = {loss.name: loss.equation for loss in DEFINITIONS}
    margin, scale, alpha = (
        inspect.signature(function).parameters[name].default
        for function, name in ((additive_margin, "margin"), (additive_margin, "scale"), (chimera, "alpha"))
    )
    threshold, of_silence = (10 ** (-most / 10) for most in (snr.MAX_SNR_DB, snr.MAX_ATTENUATION_DB))
    for name, parts in {
        "additive-margin": [f"{scale:g} (cos - {margin:g} y)"],
        "chimera": [f"{alpha:g} (D", f"+ {1 - alpha:g} mean"],
        "compressed-l2": [f"+ {extraction.FLOOR:.5f})^{extraction.COMPRESSION:g}"],
        "snr": [f"+ {threshold:g} |s|^2", f"+ {of_silence:g} |x|^2"],
        "wavesplit": [f", {CEILING:g})"],
    }.items():
        assert all(part in equations[name] for part in parts), name


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
