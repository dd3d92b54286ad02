"""Small configurations of every registered model, for tests that run over all of them."""

TINY: dict[str, dict[str, object]] = {
    "dp-rcnet": {
        "filters": 16,
        "window": 8,
        "chunk": 20,
        "widths": [8, 16],
        "blocks": [1, 2],
        "hidden": 8,
        "scale": 1.0,
    },
    "dprnn": {"filters": 16, "features": 12, "window": 8, "chunk": 20, "blocks": 2, "hidden": 12},
    "dptnet": {"filters": 16, "features": 12, "window": 8, "chunk": 20, "blocks": 2, "hidden": 12},
    "galr": {"filters": 16, "window": 8, "segment": 20, "summary": 4, "blocks": 2, "hidden": 12, "heads": 4},
    "papez": {"width": 16, "window": 8, "chunk": 20, "memory": 3, "depth": 3, "heads": 4, "feedforward": 24},
    "sandglasset": {"filters": 16, "features": 12, "segment": 20, "contexts": [1, 2, 2, 1], "hidden": 12, "heads": 4},
    "sepformer": {"filters": 16, "window": 8, "chunk": 20, "intra": 1, "inter": 1, "heads": 4, "feedforward": 24},
    "tiny-sepformer": {
        "filters": 16,
        "window": 8,
        "chunk": 20,
        "layers": 2,
        "sharing": 2,
        "heads": 4,
        "feedforward": 24,
    },
}
