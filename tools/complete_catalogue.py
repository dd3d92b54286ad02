"""Fill in what only servers know of published checkpoints: sums, sizes, fixed revisions, licences.

``python -m tools.complete_catalogue`` asks the hub for every entry of ``checkpoints.toml`` that can be fetched, and
writes the file again; ``--check`` only says what would change. Sums of large files come from the hub's own records;
small files, and with ``--download`` every file, are fetched and summed here. A sum that is known is never replaced: a
server that has another one is an error.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from septool import catalogue, downloads
from septool.downloads import HUB, HUB_FILE, RemoteFile
from septool.errors import CheckpointError
from septool.files import sha256_of
from tools.catalogue_file import write_catalogue

ROOT = Path(__file__).parent.parent
SMALL = 1_000_000  # bytes, that are fetched to be summed
LICENCES = {"apache-2.0": "Apache-2.0", "cc-by-sa-4.0": "CC BY-SA 4.0", "cc-by-4.0": "CC BY 4.0", "mit": "MIT"}


def complete_entry(entry: catalogue.Entry, *, download: bool = False) -> catalogue.Entry:
    """Return an entry with everything that its servers tell.

    Args:
        entry: one that can be fetched.
        download: fetch files whose sum no server tells, however large.

    Raises:
        CheckpointError: a server cannot be reached, or has another file than the entry says.
    """
    match = HUB_FILE.fullmatch(entry.files[0].url)
    if match is None:
        return replace(entry, files=tuple(_complete_file(file, file, download=download) for file in entry.files))
    repository = downloads.describe_repository(match.group(1), match.group(2))
    files = []
    for file in entry.files:
        name = file.url.removeprefix(f"{HUB}/{match.group(1)}/resolve/{match.group(2)}/")  # may lie in a folder
        there = repository.files.get(name)
        if there is None:
            raise CheckpointError(f"{HUB}/{match.group(1)} has no {name} at {match.group(2)}")
        files.append(_complete_file(replace(file, url=there.url), there, download=download))
    licence = LICENCES.get(repository.licence, repository.licence) if entry.licence == "unknown" else ""
    return replace(entry, files=tuple(files), licence=licence or entry.licence)


def _complete_file(file: RemoteFile, there: RemoteFile, *, download: bool) -> RemoteFile:
    digest, size = there.sha256, there.bytes or downloads.remote_size(there)
    if not digest and not file.sha256 and (download or 0 < size <= SMALL):
        path = downloads.download(replace(file, bytes=0))
        digest, size = sha256_of(path), path.stat().st_size
    for known, actual, what in ((file.sha256, digest, "sha256"), (file.bytes, size, "bytes")):
        if known and actual and known != actual:
            raise CheckpointError(f"{file.url}: {what} is {actual}, checkpoints.toml says {known}")
    return replace(
        file, sha256=file.sha256 or digest, bytes=size or file.bytes, about_bytes=0 if size else file.about_bytes
    )


def describe_changes(before: catalogue.Entry, after: catalogue.Entry) -> Iterator[str]:
    """Say what is new of an entry."""
    if before.licence != after.licence:
        yield f"licence {after.licence}"
    for old, new in zip(before.files, after.files, strict=True):
        for key, value in asdict(new).items():
            if value and value != getattr(old, key):
                yield f"{new.name}: {key} {value}"


def main() -> int:
    """Complete the catalogue, or say what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="entries; all that can be fetched by default")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if something would change")
    parser.add_argument("--download", action="store_true", help="fetch files whose sums no server tells")
    args = parser.parse_args()
    known = catalogue.read_catalogue()
    changed = failed = False
    for name, entry in known.items():
        if not entry.files or (args.names and name not in args.names):
            continue
        try:
            complete = complete_entry(entry, download=args.download)
        except CheckpointError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        for change in describe_changes(entry, complete):
            print(f"{name}: {change}")
            changed = True
        known[name] = complete
    if changed and not args.check:
        write_catalogue({name: asdict(entry) for name, entry in known.items()}, ROOT / "checkpoints.toml")
    return 1 if failed or (changed and args.check) else 0


if __name__ == "__main__":
    sys.exit(main())
