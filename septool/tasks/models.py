"""Listing, describing, fetching and verifying checkpoints."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from septool import catalogue, downloads
from septool.config import JsonDict
from septool.downloads import Progress
from septool.errors import CheckpointError
from septool.headers import read_header


@dataclass(frozen=True)
class Checked:
    """A checkpoint that was fetched or compared with its sum."""

    name: str
    file: str = ""  # none if it could not be fetched
    error: str = ""  # what is wrong with it
    licence: str = ""
    notices: str = ""
    first_seen: tuple[str, ...] = ()  # files of which no sum was published, so that the first one seen is trusted


def list_known(*, remote: bool = False) -> list[JsonDict]:
    """Return entries of ``checkpoints.toml``, with ``here`` saying whether they are ready on this machine.

    Args:
        remote: those that have to be fetched too; otherwise only those that are here.
    """
    rows = []
    for name, entry in catalogue.read_catalogue().items():
        path = catalogue.weights_path(entry)
        here = path is not None and path.exists()
        if here or remote:
            rows.append({"name": name} | asdict(entry) | {"bytes": entry.total_bytes, "here": here})
    return rows


def describe_checkpoint(name: str) -> JsonDict:
    """Return a checkpoint's header, and its entry if it is a known one; of one that is not here, where it will be."""
    try:
        key, path = catalogue.resolve_checkpoint(name)
    except catalogue.NotFetchedError:
        key, entry = catalogue.find_entry(name)
        description: JsonDict = {"name": key, "file": f"not here; septool models fetch {name}"}
        description |= {
            field: value for field, value in asdict(entry).items() if field not in ("file", "files", "default", "bytes")
        }
        description |= {
            "from": sorted({file.url.rpartition("/")[0] for file in entry.files}),
            "bytes": entry.total_bytes,
        }
        description |= {"goes_to": str(downloads.expected_folder(entry.files[0]))}
        return {field: value for field, value in description.items() if value not in (None, "", {}, [], 0)}
    description = {"name": key, "file": str(path)}
    description |= {field: value for field, value in asdict(read_header(path)).items() if value}
    entry = catalogue.read_catalogue().get(key)
    if entry is not None and catalogue.weights_path(entry) == path:  # not a file of the user's that is called the same
        facts = {field: value for field, value in asdict(entry).items() if field not in ("file", "files", "default")}
        # Over what the header may leave unknown.
        description |= {field: value for field, value in facts.items() if value}
    return {field: value for field, value in description.items() if value not in (None, "", {}, [], ())}


def fetch(names: Sequence[str], *, progress: Progress = lambda *_: None) -> Iterator[Checked]:
    """Download checkpoints, check their files and bring them into our shape.

    Args:
        names: entries, models for their default ones, or ``hf:OWNER/NAME[@REVISION]``.
        progress: callback with a file's name, its bytes that are here, and all of them.

    Raises:
        UsageError: a name that is not known; nothing is fetched then.
    """
    for name in names:
        if not catalogue.HUB_NAME.fullmatch(name):
            catalogue.find_entry(name)
    for name in names:
        key = name
        try:
            key, entry = catalogue.find_entry(name)
            path = catalogue.fetch_weights(name, progress)
        except CheckpointError as error:
            yield Checked(key, error=str(error))
        else:
            unpublished = tuple(catalogue.unpublished_sums(entry))
            yield Checked(key, str(path), licence=entry.licence, notices=entry.notices, first_seen=unpublished)


def verify(names: Sequence[str]) -> Iterator[Checked]:
    """Check files against the catalogue, and against what was seen first; all that are here if none is named.

    A ``.safetensors`` file that is in no catalogue is whole if the network that it describes can be made of it.
    """
    for name in names or [row["name"] for row in list_known()]:
        key, path = name, ""
        try:
            if Path(name).suffix == ".safetensors" and Path(name).is_file():
                from septool import checkpoints  # and with it torch

                checkpoints.load(Path(name))
                yield Checked(name, name)
                continue
            key, entry = catalogue.find_entry(name)
            for file in entry.files:
                downloaded = downloads.find_downloaded(file)
                if downloaded is not None:
                    downloads.check_sum(file, downloaded)
            path = str(catalogue.resolve_checkpoint(name)[1])
        except CheckpointError as error:
            yield Checked(key, path, str(error))
        else:
            yield Checked(key, path, first_seen=tuple(catalogue.unpublished_sums(entry)))
