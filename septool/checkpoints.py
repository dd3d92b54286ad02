"""Checkpoints: reading, writing, finding and checking them; the only file that touches the network."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from safetensors.torch import save as serialize
from torch import Tensor

from septool import catalogue
from septool.config import as_dict
from septool.errors import CheckpointError, UsageError
from septool.files import atomic_write
from septool.headers import KEY, Header, open_weights, read_header
from septool.models.base import Model, Separator
from septool.models.build import build_model
from septool.registry import suggest

LOG = logging.getLogger(__name__)
ROLES = {"separator": "separate", "extractor": "extract", "speaker": "recognise speakers"}
ModelT = TypeVar("ModelT", bound=Model)


def save(path: Path, weights: Mapping[str, Tensor], header: Header) -> None:
    """Write a checkpoint; it appears whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with atomic_write(path) as partial:
        # Through memory: save_file makes a file that only its owner can read, whatever the umask.
        partial.write_bytes(serialize(tensors, metadata={KEY: json.dumps(as_dict(header), sort_keys=True)}))


def load_into(model: Model, path: Path) -> None:
    """Load a checkpoint's weights into a model of the same shape."""
    with open_weights(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    needed = {name: list(value.shape) for name, value in model.state_dict().items()}
    given = {name: list(value.shape) for name, value in weights.items()}
    wrong = sorted(name for name in needed.keys() | given.keys() if needed.get(name) != given.get(name))
    if wrong:
        first = f"{wrong[0]} is {given.get(wrong[0], 'missing')}, the model has {needed.get(wrong[0], 'none')}"
        raise CheckpointError(f"checkpoint {path} does not fit the model in {len(wrong)} places: {first}")
    model.load_state_dict(weights)


def load_part(model: Model, part: str, name: str) -> None:
    """Start a part of a model from another checkpoint, or with ``NAME#PART`` from a part of that.

    The checkpoint's weights have to be there in the part, of the same shape; what else it has stays as it is.

    Raises:
        UsageError: an unknown checkpoint, or the model has no such part.
        CheckpointError: a missing or damaged file, or weights that do not fit.
    """
    name, _, inner = name.partition("#")
    _, path = catalogue.resolve_checkpoint(name)
    prefix = f"{inner}." if inner else ""
    with open_weights(path, "pt") as file:
        weights = {
            key.removeprefix(prefix): file.get_tensor(key)
            for key in file.keys()  # noqa: SIM118 - not a mapping
            if key.startswith(prefix)
        }
    module = dict(model.named_children()).get(part)
    if module is None:
        raise suggest("part of the model", part, (child for child, _ in model.named_children()))
    there = {key: value.shape for key, value in module.state_dict().items()}
    wrong = [key for key, value in weights.items() if there.get(key) != value.shape]
    if wrong or not weights:
        reason = f"{wrong[0]!r} is not in the part in this shape" if wrong else f"it has nothing under {inner!r}"
        raise CheckpointError(f"checkpoint {path} does not fit {part!r}: {reason}")
    module.load_state_dict(weights, strict=False)


@overload
def load(path: Path) -> tuple[Separator, Header]: ...


@overload
def load(path: Path, kind: type[ModelT]) -> tuple[ModelT, Header]: ...


def load(path: Path, kind: Any = Separator) -> tuple[Any, Header]:
    """Build the model of a checkpoint and load its weights, ready to use.

    Raises:
        CheckpointError: a missing or damaged file, or a model of another kind.
    """
    header = read_header(path)
    try:
        model = build_model(header.model, header.config)
    except UsageError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from None
    if not isinstance(model, kind):
        raise CheckpointError(f"checkpoint {path} is a {header.model}, which does not {ROLES[kind.role]}")
    if model.sources != header.sources:
        raise CheckpointError(f"checkpoint {path} says {header.sources} sources, its model {model.sources}")
    load_into(model, path)
    return model.eval(), header
