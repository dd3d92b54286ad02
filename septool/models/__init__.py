"""The models, a line each."""

from septool.registry import Registry

MODELS = Registry(
    "model",
    {
        "dp-rcnet": "septool.models.dp_rcnet:DPRCNet",
        "dprnn": "septool.models.dprnn:DPRNN",
        "dptnet": "septool.models.dptnet:DPTNet",
        "galr": "septool.models.galr:GALR",
        "papez": "septool.models.papez:Papez",
        "sandglasset": "septool.models.sandglasset:Sandglasset",
        "sepformer": "septool.models.sepformer:SepFormer",
        "tiny-sepformer": "septool.models.tiny_sepformer:TinySepFormer",
    },
)
