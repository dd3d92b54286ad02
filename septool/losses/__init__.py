"""The losses, a line each: ``loss(model, mixture [batch, time], sources [batch, source, time]) -> [batch]``.

A loss is minus a metric, or the objective of a paper; it calls the model itself, since some papers
train on masks or embeddings instead of waveforms. An extractor's takes ``(model, mixture, target,
enrolment)``, a speaker network's ``(model, recording, speaker)``.
"""

from septool.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "attractor": "septool.losses.attractor:attractor",
        "chimera": "septool.losses.chimera:chimera",
        "compressed-l2": "septool.losses.extraction:compressed_l2",
        "deep-clustering": "septool.losses.deep_clustering:deep_clustering",
        "magnitude": "septool.losses.mask_approximation:magnitude_approximation",
        "phase-sensitive": "septool.losses.mask_approximation:phase_sensitive_approximation",
        "si-snr": "septool.losses.si_snr:pit_si_snr",
        "speaker-cross-entropy": "septool.losses.speaker:speaker_cross_entropy",
        "spectral-l2": "septool.losses.extraction:spectral_l2",
        "two-step-autoencoder": "septool.losses.two_step:autoencoder",
        "two-step-latent": "septool.losses.two_step:latent",
        "wavesplit": "septool.losses.wavesplit:layerwise_sdr",
    },
)
