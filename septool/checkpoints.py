"""Checkpoints: reading, writing, finding and checking them; the only file that touches the network."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from septool import __version__, audio
from septool.config import as_dict, build
from septool.errors import CheckpointError
from septool.models.base import Separator
from septool.models.build import build_model

KEY = "septool"  # the header's one entry, a JSON object


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a checkpoint says of itself."""

    model: str
    config: dict[str, Any]
    sample_rate: int
    sources: int
    trained_on: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    hours: float = 0.0  # of training, wall clock
    hardware: str = ""
    measured: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    licence: str = ""


def software() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {"septool": __version__, "torch": torch.__version__, "python": platform.python_version()}


def hardware(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def save(path: Path, weights: Mapping[str, Tensor], header: Header) -> None:
    """Write a checkpoint; it appears whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with audio.replacing(path) as partial:
        save_file(tensors, partial, metadata={KEY: json.dumps(as_dict(header), sort_keys=True)})


def read_header(path: Path) -> Header:
    """Read what a checkpoint says of itself."""
    with _open(path) as file:
        metadata = file.metadata() or {}
    if KEY not in metadata:
        raise CheckpointError(f"{path} is not a septool checkpoint: its header has no {KEY!r} entry")
    return build(Header, json.loads(metadata[KEY]))


def _open(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from None


def load_into(model: Separator, path: Path) -> None:
    """Load a checkpoint's weights into a model of the same shape."""
    with _open(path) as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"checkpoint {path} does not fit the model: {error}") from None


def load(path: Path) -> tuple[Separator, Header]:
    """Build the model of a checkpoint and load its weights, ready to use."""
    header = read_header(path)
    model = build_model(header.model, header.config)
    load_into(model, path)
    return model.eval(), header
