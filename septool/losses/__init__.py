"""The losses, one line each: ``loss(model, mixture [batch, time], sources [batch, source, time]) -> [batch]``.

A loss is minus a metric, or the objective of a paper; it calls the model itself, since some papers
train on masks or embeddings instead of waveforms. An extractor's takes ``(model, mixture, target,
enrollment)``, a speaker network's ``(model, recording, speaker)``. What a loss asks of the model, and so which models
can learn by it, is the annotation of its first parameter: a class, or a protocol of methods.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from septool.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

LOSSES: Registry["Callable[..., Tensor]"] = Registry(
    "loss",
    {
        "additive-margin": "septool.losses.speaker:additive_margin",
        "attractor": "septool.losses.attractor:attractor",
        "chimera": "septool.losses.chimera:chimera",
        "compressed-l2": "septool.losses.extraction:compressed_l2",
        "deep-clustering": "septool.losses.deep_clustering:deep_clustering",
        "magnitude": "septool.losses.mask_approximation:magnitude_approximation",
        "phase-sensitive": "septool.losses.mask_approximation:phase_sensitive_approximation",
        "si-snr": "septool.losses.si_snr:pit_si_snr",
        "snr": "septool.losses.snr:pit_snr",
        "speaker-cross-entropy": "septool.losses.speaker:speaker_cross_entropy",
        "spectral-l2": "septool.losses.extraction:spectral_l2",
        "two-step-autoencoder": "septool.losses.two_step:autoencoder",
        "two-step-latent": "septool.losses.two_step:latent",
        "wavesplit": "septool.losses.wavesplit:layerwise_sdr",
    },
)

# Those that are nothing, or infinite, where a source is silent.
UNDEFINED_FOR_SILENCE = {"si-snr", "two-step-autoencoder", "two-step-latent", "wavesplit"}

# What each computes. x: the mixture, s: a voice, e: its estimate; X, S: their complex spectra; M: a mask;
# V: embeddings and Y: memberships of bins. Voices are in their best order.
EQUATIONS = {
    "additive-margin": "-log softmax(30 (cos - 0.2 y)) of the right speaker, y = 1 for that one and else 0",
    "attractor": "mean (M |X| - W |X|)^2, W = |S|^2 / sum |S|^2",
    "chimera": "0.975 (D - trace((V'V)^-1 V'Y (Y'Y)^-1 Y'V)) + 0.025 mean |M |X| - T| / mean |X|, "
    "T = |S| cos(S, X) within [0, |X|]",
    "compressed-l2": "mean ((M |X|)^0.3 - |S|^0.3)^2",
    "deep-clustering": "|V V' - Y Y'|^2 / N^2 over the N audible bins; with an enhancement network "
    "+ mean (M |X| - |S|)^2",
    "magnitude": "mean (M |X| - |S|)^2",
    "phase-sensitive": "mean (M |X| - |S| cos(S, X))^2",
    "si-snr": "-10 log10(|a s|^2 / |e - a s|^2), a = <e, s> / |s|^2, both zero-mean",
    "snr": "-10 log10(|s|^2 / (|e - s|^2 + 0.001 |s|^2)); of a silent s: -10 log10(|x|^2 / (|e|^2 + 0.01 |x|^2))",
    "speaker-cross-entropy": "-log softmax(scores) of the right speaker",
    "spectral-l2": "mean (M |X| - |S|)^2",
    "two-step-autoencoder": "si-snr of what is decoded from the latents under ideal masks",
    "two-step-latent": "si-snr of the estimated latents, means not removed, against the ideally masked ones",
    "wavesplit": "-mean over layers of min(10 log10(|s|^2 / |e - s|^2), 30)",
}


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
