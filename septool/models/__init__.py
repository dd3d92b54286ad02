"""The models, a line each."""

from septool.registry import Registry

MODELS = Registry(
    "model",
    {
        "galr": "septool.models.galr:GALR",
        "papez": "septool.models.papez:Papez",
    },
)
