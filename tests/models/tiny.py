"""Small configurations of every registered model, for tests that run over all of them."""

TINY: dict[str, dict[str, object]] = {
    "galr": {"filters": 16, "window": 8, "segment": 20, "summary": 4, "blocks": 2, "hidden": 12, "heads": 4},
    "papez": {"width": 16, "window": 8, "chunk": 20, "memory": 3, "depth": 3, "heads": 4, "feedforward": 24},
}
