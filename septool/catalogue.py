"""The catalogue of known checkpoints, ``checkpoints.toml``: what a name means, where its weights are, fetching them.

The only file that opens a network connection.
"""

import http.client
import logging
import shutil
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from septool.config import build, cache_folder, read_toml, shipped
from septool.errors import CheckpointError, UsageError
from septool.files import atomic_write, make_folder, sha256_of
from septool.models import MODELS
from septool.registry import suggest

LOG = logging.getLogger(__name__)


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


def read_catalogue() -> dict[str, Entry]:
    """Read ``checkpoints.toml``."""
    entries = read_toml(shipped("checkpoints.toml"))
    return {name: build(Entry, values, f"{name}.") for name, values in entries.items()}


def resolve_checkpoint(name: str) -> tuple[str, Path]:
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
    key, entry = find_entry(name)
    path = weights_path(entry)
    if not path.exists():
        raise CheckpointError(f"the weights of {key} are not here; get them with: septool models fetch {key}")
    check_weights(path, entry)
    LOG.info("%s is %s, sha256 %s...", key, path, entry.sha256[:12])
    return key, path


def resolve_part(name: str) -> tuple[Path, str]:
    """Find the file that ``NAME`` or ``NAME#PART`` means, and the part of its model, empty for all of it.

    Raises:
        UsageError, CheckpointError: as from :func:`resolve_checkpoint`.
    """
    name, _, part = name.partition("#")
    return resolve_checkpoint(name)[1], part


def find_entry(name: str) -> tuple[str, Entry]:
    """Find an entry by its own name, or by its model's if it is the default one."""
    known = read_catalogue()
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


def weights_path(entry: Entry) -> Path:
    """Return where an entry's file is or would be."""
    if entry.file is not None:
        return Path(__file__).parent / "weights" / entry.file
    return cache_folder() / "weights" / f"{entry.sha256[:16]}.safetensors"


def check_weights(path: Path, entry: Entry) -> None:
    """Compare a file with its entry.

    Raises:
        CheckpointError: it is another file than the catalogue means.
    """
    digest = sha256_of(path)
    if digest != entry.sha256:
        remedy = "install septool again" if entry.file else f"delete {path} and fetch it again"
        raise CheckpointError(
            f"checkpoint {path.name} is damaged: its sha256 is {digest[:12]}..., "
            f"checkpoints.toml says {entry.sha256[:12]}...; {remedy}"
        )


def fetch_weights(name: str) -> Path:
    """Download a remote checkpoint into the cache and check it; a bundled one is already there."""
    key, entry = find_entry(name)
    path = weights_path(entry)
    if path.exists():
        check_weights(path, entry)
        return path
    if entry.url is None:
        raise CheckpointError(f"the bundled weights of {key} are missing; install septool again")
    make_folder(path.parent)
    with atomic_write(path) as partial:
        try:
            with urllib.request.urlopen(entry.url, timeout=60) as response, partial.open("wb") as file:
                shutil.copyfileobj(response, file)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CheckpointError(f"{entry.url} cannot be fetched: {error}") from None
        digest = sha256_of(partial)
        if digest != entry.sha256:
            raise CheckpointError(
                f"{entry.url} gave another file than expected: its sha256 is {digest[:12]}..., "
                f"checkpoints.toml says {entry.sha256[:12]}..."
            )
    return path
