"""What checkpoints there are, what they say of themselves, and whether they are whole."""

from collections.abc import Iterator, Sequence
from typing import Any

from septool import checkpoints
from septool.config import as_dict
from septool.errors import CheckpointError


def known() -> list[dict[str, Any]]:
    """Return every entry of ``checkpoints.toml``, with ``here`` saying whether its file is on this machine."""
    return [
        {"name": name} | as_dict(entry) | {"here": checkpoints.locate(entry).exists()}
        for name, entry in checkpoints.catalogue().items()
    ]


def describe(name: str) -> dict[str, Any]:
    """Return a checkpoint's header, and its entry if it is a known one."""
    key, path = checkpoints.resolve(name)
    about: dict[str, Any] = {"name": key, "file": str(path)}
    entry = checkpoints.catalogue().get(key)
    if entry is not None and checkpoints.locate(entry) == path:  # not a file of the user's that is called the same
        about |= {field: value for field, value in as_dict(entry).items() if field not in ("file", "default")}
    return about | {field: value for field, value in as_dict(checkpoints.read_header(path)).items() if value}


def fetch(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Download checkpoints; yields (file or nothing, what went wrong or nothing)."""
    for name in [checkpoints.find(name)[0] for name in names]:
        try:
            yield str(checkpoints.fetch(name)), ""
        except CheckpointError as error:
            yield "", str(error)


def verify(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Check files against the catalogue; yields (name, what is wrong or nothing)."""
    here = [name for name, entry in checkpoints.catalogue().items() if checkpoints.locate(entry).exists()]
    for name, entry in [checkpoints.find(name) for name in names or here]:
        path = checkpoints.locate(entry)
        try:
            if not path.exists():
                raise CheckpointError(f"the weights of {name} are not here; get them with: septool models fetch {name}")
            checkpoints.check(path, entry)
        except CheckpointError as error:
            yield name, str(error)
        else:
            yield name, ""
