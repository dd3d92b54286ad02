"""Checkpoint headers: the JSON metadata of a ``.safetensors`` file, read without torch."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open

from septool.config import JsonDict, build
from septool.errors import CheckpointError, ConfigError, UsageError
from septool.limits import HIGHEST_RATE, LARGEST_SIZE, LOWEST_RATE, MOST_PASSES

KEY = "septool"  # the header's one entry, a JSON object


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a checkpoint says of itself."""

    model: str
    config: JsonDict
    sample_rate: int
    sources: int
    trained_on: str = ""
    origin: str = ""  # converted weights: the source and its files
    recipe: JsonDict = field(default_factory=dict)
    steps: int = 0
    hours: float = 0.0  # training time, wall clock
    hardware: str = ""
    measured: JsonDict = field(default_factory=dict)
    passes: int = 1  # averaged by default; see septool.inference.passes
    presence_threshold: float | None = None  # score from which a voice counts as there: of an extractor, or by cosine
    software: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)  # sha256 of what it was trained and validated on
    licence: str = ""
    notices: str = ""  # restrictions that come with what it was trained on
    intended_use: str = ""
    published: JsonDict = field(default_factory=dict)  # scores of others, with their source
    drops_tail: bool = False  # samples behind the last whole hop come back as zeros, as where the weights are from
    assumed: str = ""  # converted weights: settings that their files do not give

    def __post_init__(self) -> None:
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise ValueError(f"sample_rate is {self.sample_rate}; it is {LOWEST_RATE} to {HIGHEST_RATE} Hz")
        if not 1 <= self.passes <= MOST_PASSES:
            raise ValueError(f"passes is {self.passes}; it is 1 to {MOST_PASSES}")

    def choose_passes(self, asked: int | None) -> int:
        """Return how many passes to average: as many as were asked for, else as the checkpoint says.

        Raises:
            UsageError: fewer than one, or too many.
        """
        if asked is not None and not 1 <= asked <= MOST_PASSES:
            raise UsageError(f"passes is {asked}; it is 1 to {MOST_PASSES}")
        return self.passes if asked is None else asked


def read_header(path: Path) -> Header:
    """Read what a checkpoint says of itself."""
    with open_weights(path) as file:
        metadata = file.metadata() or {}
    if KEY not in metadata:
        raise CheckpointError(f"{path} is not a septool checkpoint: its header has no {KEY!r} entry")
    try:
        header = build(Header, json.loads(metadata[KEY], parse_constant=_refuse_constant))
        for key, value in numbers_in(header.config):
            if isinstance(value, float) and not math.isfinite(value):  # 1e999
                raise ValueError(f"config.{key} is {value}")
            if abs(value) > LARGEST_SIZE:
                raise ValueError(f"config.{key} is {value}; no network here has a size over {LARGEST_SIZE}")
    except RecursionError:
        raise CheckpointError(f"checkpoint {path} has a damaged header: it is nested too deep") from None
    except (ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"checkpoint {path} has a damaged header: {error}") from None
    return header


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def numbers_in(value: object, key: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number in plain values, with the way to it."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from numbers_in(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from numbers_in(item, key)
    elif isinstance(value, int | float):
        yield key, value


def open_weights(path: Path, framework: str = "numpy") -> Any:
    """Open a ``.safetensors`` file, whose tensors come as those of a framework: numpy, or pt for torch."""
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        return safe_open(path, framework)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from None
