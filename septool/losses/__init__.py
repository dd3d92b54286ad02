"""The losses, one entry each: ``loss(model, mixture [batch, time], sources [batch, source, time]) -> [batch]``.

A loss is minus a metric, or the objective of a paper; it calls the model itself, since some papers
train on masks or embeddings instead of waveforms. An extractor's takes ``(model, mixture, target,
enrollment)``, a speaker network's ``(model, recording, speaker)``. What a loss asks of the model, and so which models
can learn by it, is the annotation of its first parameter: a class, or a protocol of methods.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from septool.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """What a loss is.

    In equations, x is the mixture, s a voice, e its estimate; X and S are their complex spectra, M is a mask; V and Y
    are the embeddings and memberships of bins. Voices are in their best order.
    """

    name: str
    path: str  # "module:function"
    equation: str  # what it computes
    defined_for_silence: bool = True  # it has a finite value where a source is silent


DEFINITIONS = (
    Loss(
        "additive-margin",
        "septool.losses.speaker:additive_margin",
        "-log softmax(30 (cos - 0.2 y)) of the right speaker, y = 1 for that one and else 0",
    ),
    Loss(
        "attractor",
        "septool.losses.attractor:attractor",
        "mean (M |X| - W |X|)^2, W = |S|^2 / sum |S|^2",
    ),
    Loss(
        "chimera",
        "septool.losses.chimera:chimera",
        "0.975 (D - trace((V'V)^-1 V'Y (Y'Y)^-1 Y'V)) + 0.025 mean |M |X| - T| / mean |X|, T = |S| cos(S, X) within "
        "[0, |X|]; V and Y weighted by |X|",
    ),
    Loss(
        "compressed-l2",
        "septool.losses.extraction:compressed_l2",
        "mean ((M |X| + 0.00001)^0.3 - (|S| + 0.00001)^0.3)^2",
    ),
    Loss(
        "deep-clustering",
        "septool.losses.deep_clustering:deep_clustering",
        "|V V' - Y Y'|^2 / N^2 over the N audible bins; with an enhancement network + mean (M |X| - |S|)^2",
    ),
    Loss(
        "magnitude",
        "septool.losses.mask_approximation:magnitude_approximation",
        "mean (M |X| - |S|)^2",
    ),
    Loss(
        "phase-sensitive",
        "septool.losses.mask_approximation:phase_sensitive_approximation",
        "mean (M |X| - |S| cos(S, X))^2",
    ),
    Loss(
        "si-snr",
        "septool.losses.si_snr:pit_si_snr",
        "-10 log10(|a s|^2 / |e - a s|^2), a = <e, s> / |s|^2, both zero-mean",
        defined_for_silence=False,
    ),
    Loss(
        "snr",
        "septool.losses.snr:pit_snr",
        "-10 log10(|s|^2 / (|e - s|^2 + 0.001 |s|^2)); of a silent s: -10 log10(|x|^2 / (|e|^2 + 0.01 |x|^2))",
    ),
    Loss(
        "speaker-cross-entropy",
        "septool.losses.speaker:speaker_cross_entropy",
        "-log softmax(scores) of the right speaker",
    ),
    Loss(
        "spectral-l2",
        "septool.losses.extraction:spectral_l2",
        "mean (M |X| - |S|)^2",
    ),
    Loss(
        "two-step-autoencoder",
        "septool.losses.two_step:autoencoder",
        "si-snr of what is decoded from the latents under ideal masks",
        defined_for_silence=False,
    ),
    Loss(
        "two-step-latent",
        "septool.losses.two_step:latent",
        "si-snr of the estimated latents, means not removed, against the ideally masked ones",
        defined_for_silence=False,
    ),
    Loss(
        "wavesplit",
        "septool.losses.wavesplit:layerwise_sdr",
        "-mean over layers of min(10 log10(|s|^2 / |e - s|^2), 30)",
        defined_for_silence=False,
    ),
)
LOSSES: Registry["Callable[..., Tensor]"] = Registry("loss", {loss.name: loss.path for loss in DEFINITIONS})
UNDEFINED_FOR_SILENCE = {loss.name for loss in DEFINITIONS if not loss.defined_for_silence}


def can_learn_by(model: "nn.Module", loss: str) -> bool:
    """Return whether a model is or has what a loss asks of it.

    Raises:
        UsageError: no such loss.
    """
    hint = get_type_hints(LOSSES[loss])["model"]
    asked: type[Any] = get_origin(hint) or hint
    if getattr(asked, "_is_protocol", False):
        return all(hasattr(model, name) for name in vars(asked) if not name.startswith("_"))
    return isinstance(model, asked)
