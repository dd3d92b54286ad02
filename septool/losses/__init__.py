"""The losses, a line each: ``loss(model, mixture [batch, time], sources [batch, source, time]) -> [batch]``.

A loss is minus a metric, or the objective of a paper; it calls the model itself, since some papers
train on masks or embeddings instead of waveforms.
"""

from septool.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "si-snr": "septool.losses.si_snr:pit_si_snr",
        "two-step-autoencoder": "septool.losses.two_step:autoencoder",
        "two-step-latent": "septool.losses.two_step:latent",
    },
)
