"""What checkpoints there are, what they say of themselves, and whether they are whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from septool import catalogue
from septool.config import as_dict
from septool.errors import CheckpointError
from septool.headers import read_header


@dataclass(frozen=True)
class Checked:
    """A checkpoint that was fetched or compared with its sum."""

    name: str
    file: str = ""  # none if it could not be fetched
    error: str = ""  # what is wrong with it


def known() -> list[dict[str, Any]]:
    """Return every entry of ``checkpoints.toml``, with ``here`` saying whether its file is on this machine."""
    return [
        {"name": name} | as_dict(entry) | {"here": catalogue.weights_path(entry).exists()}
        for name, entry in catalogue.read_catalogue().items()
    ]


def describe(name: str) -> dict[str, Any]:
    """Return a checkpoint's header, and its entry if it is a known one."""
    key, path = catalogue.resolve_checkpoint(name)
    about: dict[str, Any] = {"name": key, "file": str(path)}
    entry = catalogue.read_catalogue().get(key)
    if entry is not None and catalogue.weights_path(entry) == path:  # not a file of the user's that is called the same
        about |= {field: value for field, value in as_dict(entry).items() if field not in ("file", "default")}
    about |= {field: value for field, value in as_dict(read_header(path)).items() if value}
    return {field: value for field, value in about.items() if value not in (None, "", {})}


def fetch(names: Sequence[str]) -> Iterator[Checked]:
    """Download checkpoints."""
    for name in [catalogue.find_entry(name)[0] for name in names]:
        try:
            yield Checked(name, str(catalogue.fetch_weights(name)))
        except CheckpointError as error:
            yield Checked(name, error=str(error))


def verify(names: Sequence[str]) -> Iterator[Checked]:
    """Check files against the catalogue; all that are here if none is named."""
    here = [name for name, entry in catalogue.read_catalogue().items() if catalogue.weights_path(entry).exists()]
    for name, entry in [catalogue.find_entry(name) for name in names or here]:
        path = catalogue.weights_path(entry)
        try:
            if not path.exists():
                raise CheckpointError(f"the weights of {name} are not here; get them with: septool models fetch {name}")
            catalogue.check_weights(path, entry)
        except CheckpointError as error:
            yield Checked(name, str(path), str(error))
        else:
            yield Checked(name, str(path))
