"""What a checkpoint says of itself: the JSON in the header of its ``.safetensors`` file, read without torch."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from septool.config import build
from septool.errors import CheckpointError, ConfigError

KEY = "septool"  # the header's one entry, a JSON object


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a checkpoint says of itself."""

    model: str
    config: dict[str, Any]
    sample_rate: int
    sources: int
    trained_on: str = ""
    origin: str = ""  # of weights that were converted: the source and its files
    recipe: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    hours: float = 0.0  # of training, wall clock
    hardware: str = ""
    measured: dict[str, Any] = field(default_factory=dict)
    presence_threshold: float | None = None  # of an extractor: the score from which its voice counts as there
    software: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)  # sha256 of what it was trained and validated on
    licence: str = ""

    def __post_init__(self) -> None:
        if self.sample_rate < 1:
            raise ValueError(f"sample_rate is {self.sample_rate}")


def read_header(path: Path) -> Header:
    """Read what a checkpoint says of itself."""
    with open_weights(path) as file:
        metadata = file.metadata() or {}
    if KEY not in metadata:
        raise CheckpointError(f"{path} is not a septool checkpoint: its header has no {KEY!r} entry")
    try:
        return build(Header, json.loads(metadata[KEY]))
    except (ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"checkpoint {path} has a damaged header: {error}") from None


def open_weights(path: Path, framework: str = "numpy") -> Any:
    """Open a ``.safetensors`` file, whose tensors come as those of a framework: numpy, or pt for torch."""
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        return safe_open(path, framework)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from None
