"""Small configurations of every registered model, for tests that run over all of them."""

from typing import Any

TINY: dict[str, dict[str, object]] = {
    "adanet": {"fft": 32, "hop": 8, "hidden": 12, "layers": 2, "embedding": 6, "anchors": 4},
    "chimera++": {"fft": 32, "hop": 8, "hidden": 12, "layers": 2, "embedding": 6},
    "afrcnn": {"filters": 16, "width": 12, "hidden": 12, "stages": 3, "iterations": 2},
    "atss-net-pit": {
        "fft": 64,
        "window": 50,
        "hop": 20,
        "channels": 4,
        "dilations": [1, 2],
        "blocks": 2,
        "embedding": 5,
    },
    "band-gridnet": {
        "fft": 32,
        "hop": 12,
        "bands": [[2, 2], [3, 4]],
        "channels": 8,
        "blocks": 2,
        "hidden": 8,
        "heads": 2,
        "key": 2,
    },
    "blstm-tasnet": {"filters": 16, "window": 8, "hidden": 12},
    "conv-tasnet": {"filters": 16, "bottleneck": 12, "hidden": 16, "skip": 8, "blocks": 2, "repeats": 2},
    "dp-rcnet": {
        "filters": 16,
        "window": 8,
        "chunk": 20,
        "widths": [8, 16],
        "blocks": [1, 2],
        "hidden": 8,
        "scale": 1.0,
    },
    "dpcl": {"fft": 32, "hop": 8, "hidden": 12, "layers": 2, "embedding": 6},
    "dprnn": {"filters": 16, "features": 12, "window": 8, "chunk": 20, "blocks": 2, "hidden": 12},
    "dptnet": {"filters": 16, "features": 12, "window": 8, "chunk": 20, "blocks": 2, "hidden": 12},
    "galr": {"filters": 16, "window": 8, "segment": 20, "summary": 4, "blocks": 2, "hidden": 12, "heads": 4},
    "papez": {"width": 16, "window": 8, "chunk": 20, "memory": 3, "depth": 3, "heads": 4, "feedforward": 24},
    "re-sepformer": {"filters": 16, "window": 8, "chunk_size": 21, "layers": 1, "heads": 4, "feedforward": 24},
    "sandglasset": {"filters": 16, "features": 12, "segment": 20, "contexts": [1, 2, 2, 1], "hidden": 12, "heads": 4},
    "sepformer": {"filters": 16, "window": 8, "chunk": 20, "intra": 1, "inter": 1, "heads": 4, "feedforward": 24},
    "sudormrf": {"filters": 16, "width": 12, "hidden": 12, "depth": 3, "blocks": 2},
    "tf-gridnet": {
        "fft": 32,
        "hop": 12,
        "blocks": 2,
        "channels": 8,
        "hidden": 8,
        "stride": 3,
        "heads": 2,
        "key": 2,
    },
    "tf-locoformer": {
        "fft": 32,
        "hop": 12,
        "blocks": 2,
        "channels": 8,
        "hidden": [12, 10],
        "stride": 3,
        "heads": 2,
        "attention": 8,
        "groups": 2,
    },
    "tiny-sepformer": {
        "filters": 16,
        "window": 8,
        "chunk": 20,
        "layers": 2,
        "sharing": 2,
        "heads": 4,
        "feedforward": 24,
    },
    "upit-blstm-st": {"fft": 32, "hop": 16, "hidden": 12, "layers": 2},
    "two-step-tdcn": {"filters": 16, "bottleneck": 12, "hidden": 16, "blocks": 2, "repeats": 2},
    "wavesplit": {"width": 8, "speaker_layers": 3, "blocks": 2, "repeats": 2},
}

SPEAKER = {"mels": 16, "widths": [4, 6, 8, 8], "embedding": 5}
SPECTRUM = {"fft": 64, "window": 50, "hop": 20, "speaker": SPEAKER}
TINY_EXTRACTORS: dict[str, dict[str, Any]] = {
    "atss-net": SPECTRUM | {"channels": 4, "dilations": [1, 2], "blocks": 2},
    "voicefilter": SPECTRUM | {"channels": 4, "dilations": [1, 2], "maps": 2, "hidden": 6, "dense": 8},
}
