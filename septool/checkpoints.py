"""Reading and writing checkpoint files, and building the models in them.

A file is a stranger's until it has been compared with itself: what its header says of the network is checked against
the tensors' shapes on torch's ``meta`` device, where nothing is allocated, before anything is built.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MethodType
from typing import TypeVar, overload

from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.nn import functional as F

from septool.atomic import atomic_write
from septool.errors import CheckpointError, UsageError
from septool.headers import KEY, Header, open_weights, read_header
from septool.models import MODELS
from septool.models.base import Model, Separator
from septool.models.build import build_model, build_on_meta
from septool.models.layers.codec import Encoder
from septool.registry import suggest

ROLES = {"separator": "separate", "extractor": "extract", "speaker": "recognize speakers"}
SLACK = 2  # parameters that are registered, over those that are kept: some modules replace their own
ModelT = TypeVar("ModelT", bound=Model)


def save(path: Path, weights: Mapping[str, Tensor], header: Header) -> None:
    """Write a checkpoint; it appears whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with atomic_write(path) as partial:
        # Through memory: save_file makes a file that only its owner can read, whatever the umask.
        partial.write_bytes(serialize(tensors, metadata={KEY: json.dumps(asdict(header), sort_keys=True)}))


def with_header(path: Path, header: Header) -> bytes:
    """Return a checkpoint's bytes under another header."""
    with open_weights(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    return serialize(tensors, metadata={KEY: json.dumps(asdict(header), sort_keys=True)})


def load_into(model: Model, path: Path) -> None:
    """Load a checkpoint's weights into a model of the same shape.

    Raises:
        CheckpointError: a missing or damaged file, or weights of another shape.
    """
    _compare_shapes(model, _shapes(path), path)
    with open_weights(path, "pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - not a mapping


def _shapes(path: Path) -> dict[str, list[int]]:
    with open_weights(path) as file:
        return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a mapping


def _compare_shapes(model: nn.Module, given: Mapping[str, list[int]], path: Path) -> None:
    needed = {name: list(value.shape) for name, value in model.state_dict().items()}
    wrong = sorted(name for name in needed.keys() | given.keys() if needed.get(name) != given.get(name))
    if wrong:
        first = f"{wrong[0]} is {given.get(wrong[0], 'missing')}, the model has {needed.get(wrong[0], 'none')}"
        raise CheckpointError(f"checkpoint {path} does not fit the model in {len(wrong)} places: {first}")


def load_part(model: Model, part: str, path: Path, inner: str = "") -> None:
    """Start a part of a model from another checkpoint, or from the part ``inner`` of that.

    The checkpoint's weights have to be there in the part, of the same shape; what else it has stays as it is.

    Raises:
        UsageError: the model has no such part.
        CheckpointError: a missing or damaged file, or weights that do not fit.
    """
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


def load(path: Path, kind: type[Model] = Separator) -> tuple[Model, Header]:
    """Build the model of a checkpoint and load its weights, ready to use.

    Raises:
        CheckpointError: a missing or damaged file, or a model of another kind.
    """
    header = read_header(path)
    if header.model in MODELS and not issubclass(MODELS[header.model], kind):
        raise CheckpointError(f"checkpoint {path} is a {header.model}, which does not {ROLES[kind.role]}")
    check_config(header, path)
    model = build_model(header.model, header.config)
    load_weights(model, path, header)
    return model.eval(), header


def load_weights(model: Model, path: Path, header: Header) -> None:
    """Load a checkpoint's weights into a model of the same shape, and make it end as its header says.

    Raises:
        CheckpointError: a missing or damaged file, weights of another shape, or an end that the model cannot have.
    """
    load_into(model, path)
    if header.drops_tail:
        if not isinstance(getattr(model, "encoder", None), Encoder):
            raise CheckpointError(f"checkpoint {path} says drops_tail, but a {header.model} has no windows of samples")
        model.forward = MethodType(_forward_whole_hops, model)  # bound, so that a copy runs by its own layers


def check_config(header: Header, path: Path) -> None:
    """Compare the network that a header describes with the tensors in the file, building nothing of any size.

    Raises:
        CheckpointError: it describes no network, or another one.
    """
    shapes = _shapes(path)
    tensors, elements = len(shapes), sum(math.prod(shape) for shape in shapes.values())

    def check(registered: int, numbers: int) -> None:
        if registered > SLACK * tensors or numbers > SLACK * elements:
            raise CheckpointError(
                f"checkpoint {path} does not fit the model in its header: the file has {tensors} tensors of together "
                f"{elements} numbers, the model is larger"
            )

    try:
        model = build_on_meta(header.model, header.config, check=check)
    except UsageError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from None
    except (ArithmeticError, RuntimeError, TypeError, MemoryError, RecursionError) as error:
        first = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(f"checkpoint {path} describes no network that can be built: {first}") from None
    if model.sources != header.sources:
        raise CheckpointError(f"checkpoint {path} says {header.sources} sources, its model {model.sources}")
    _compare_shapes(model, shapes, path)


def _forward_whole_hops(model: Model, mixture: Tensor) -> Tensor:
    """Leave what is behind the last whole hop of the model's encoder at zero."""
    encoder = model.encoder
    assert isinstance(encoder, Encoder)
    samples, window, hop = mixture.shape[-1], encoder.window, encoder.hop
    whole = samples if samples < window else (samples - window) // hop * hop + window
    return F.pad(type(model).forward(model, mixture[..., :whole]), (0, samples - whole))
