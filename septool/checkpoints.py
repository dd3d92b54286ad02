"""Checkpoints: reading, writing, finding and checking them; the only file that touches the network."""

import hashlib
import http.client
import json
import logging
import platform
import shutil
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from septool import audio
from septool.config import as_dict, build, cache_folder, read_toml, shipped
from septool.errors import CheckpointError, ConfigError, UsageError
from septool.models import MODELS
from septool.models.base import Model, Separator
from septool.models.build import build_model
from septool.registry import suggest
from septool.version import __version__

LOG = logging.getLogger(__name__)
KEY = "septool"  # the header's one entry, a JSON object
ROLES = {"separator": "separate", "extractor": "extract", "speaker": "recognise speakers"}
ModelT = TypeVar("ModelT", bound=Model)


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


def software() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {"septool": __version__, "torch": torch.__version__, "python": platform.python_version()}


def save(path: Path, weights: Mapping[str, Tensor], header: Header) -> None:
    """Write a checkpoint; it appears whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with audio.replacing(path) as partial:
        # Through memory: save_file makes a file that only its owner can read, whatever the umask.
        partial.write_bytes(serialize(tensors, metadata={KEY: json.dumps(as_dict(header), sort_keys=True)}))


def read_header(path: Path) -> Header:
    """Read what a checkpoint says of itself."""
    with _open(path) as file:
        metadata = file.metadata() or {}
    if KEY not in metadata:
        raise CheckpointError(f"{path} is not a septool checkpoint: its header has no {KEY!r} entry")
    try:
        return build(Header, json.loads(metadata[KEY]))
    except (ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"checkpoint {path} has a damaged header: {error}") from None


def _open(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from None


def load_into(model: Model, path: Path) -> None:
    """Load a checkpoint's weights into a model of the same shape."""
    with _open(path) as file:
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
    _, path = resolve(name)
    prefix = f"{inner}." if inner else ""
    with _open(path) as file:
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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One table of ``checkpoints.toml``."""

    model: str
    sha256: str
    bytes: int
    sample_rate: int
    sources: int
    licence: str
    trained_on: str
    intended_use: str
    file: str | None = None  # bundled, in septool/weights
    url: str | None = None  # fetched on request
    default: bool = False  # what the model's bare name means
    card: str = ""
    parameters: int = 0
    published: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)


def catalogue() -> dict[str, Entry]:
    """Read ``checkpoints.toml``."""
    entries = read_toml(shipped("checkpoints.toml"))
    return {name: build(Entry, values, f"{name}.") for name, values in entries.items()}


def resolve(name: str) -> tuple[str, Path]:
    """Find the checkpoint that a name means: an entry, a model's default entry, or a file.

    Returns:
        The checkpoint's name and its file, whose sha256 has been checked if it is a known one.

    Raises:
        UsageError: an unknown name, with the nearest known one.
        CheckpointError: weights that are missing or damaged.
    """
    if name.endswith(".safetensors"):
        path = Path(name).absolute()
        # A run's weights go by the name of the run, which is its folder.
        names = {"best": path.parent.name, "last": f"{path.parent.name}-last", "average": f"{path.parent.name}-average"}
        return names.get(path.stem, path.stem), Path(name)
    key, entry = find(name)
    path = locate(entry)
    if not path.exists():
        raise CheckpointError(f"the weights of {key} are not here; get them with: septool models fetch {key}")
    check(path, entry)
    LOG.info("%s is %s, sha256 %s...", key, path, entry.sha256[:12])
    return key, path


def find(name: str) -> tuple[str, Entry]:
    """Find an entry by its own name, or by its model's if it is the default one."""
    known = catalogue()
    defaults = {entry.model: key for key, entry in known.items() if entry.default}
    key = name if name in known else defaults.get(name)
    if key is None:
        raise _unknown(name, {*known, *defaults})
    return key, known[key]


def _unknown(name: str, known: set[str]) -> UsageError:
    """Build the error for what is no checkpoint: it may be a model, or a training run's folder or state."""
    path = Path(name)
    if name in MODELS:
        return UsageError(
            f"{name} has no checkpoint here; train one (septool train RECIPE) or convert one (septool models convert)"
        )
    if path.exists() or path.suffix == ".pt":
        folder = path if path.is_dir() else path.parent
        return UsageError(f"{name} is no checkpoint; a training run's is {folder / 'best.safetensors'}")
    return suggest("model", name, known)


def locate(entry: Entry) -> Path:
    """Return where an entry's file is or would be."""
    if entry.file is not None:
        return Path(__file__).parent / "weights" / entry.file
    return cache_folder() / "weights" / f"{entry.sha256[:16]}.safetensors"


def check(path: Path, entry: Entry) -> None:
    """Compare a file with its entry.

    Raises:
        CheckpointError: it is another file than the catalogue means.
    """
    digest = sha256(path)
    if digest != entry.sha256:
        remedy = "install septool again" if entry.file else f"delete {path} and fetch it again"
        raise CheckpointError(
            f"checkpoint {path.name} is damaged: its sha256 is {digest[:12]}..., "
            f"checkpoints.toml says {entry.sha256[:12]}...; {remedy}"
        )


def sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(name: str) -> Path:
    """Download a remote checkpoint into the cache and check it; a bundled one is already there."""
    key, entry = find(name)
    path = locate(entry)
    if path.exists():
        check(path, entry)
        return path
    if entry.url is None:
        raise CheckpointError(f"the bundled weights of {key} are missing; install septool again")
    audio.make_folder(path.parent)
    with audio.replacing(path) as partial:
        try:
            with urllib.request.urlopen(entry.url, timeout=60) as response, partial.open("wb") as file:
                shutil.copyfileobj(response, file)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CheckpointError(f"{entry.url} cannot be fetched: {error}") from None
        digest = sha256(partial)
        if digest != entry.sha256:
            raise CheckpointError(
                f"{entry.url} gave another file than expected: its sha256 is {digest[:12]}..., "
                f"checkpoints.toml says {entry.sha256[:12]}..."
            )
    return path
