"""Hidden lists of the files that were written to a folder.

By them a later search for recordings leaves outputs out, whatever model or name they have.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from septool.config import JsonMapping
from septool.files import parse_json_lines, sha256_of

OUTPUT_LIST = ".septool-outputs.jsonl"  # a row for each file: its name, and by what it is known again


def record_outputs(paths: Sequence[Path]) -> dict[Path, str]:
    """Add files that were just written to the lists of their folders; returns the sha256 of each."""
    sums = {path: sha256_of(path) for path in paths}
    for path, digest in sums.items():
        status = path.stat()
        known_by = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns, "sha256": digest}
        _add_row(path.parent, {"name": path.name} | known_by)
    return sums


def record_group(folder: Path, pattern: str, paths: Sequence[Path]) -> None:
    """Add which voices a recording has to the list of a folder, where nobody knows them before they are written.

    Args:
        folder: the folder that all are in or below.
        pattern: what their names have in common, by which :class:`GroupLists` finds them.
        paths: the voices.
    """
    _add_row(folder, {"pattern": pattern, "group": [path.relative_to(folder).as_posix() for path in paths]})


class GroupLists:
    """The groups of voices in the lists of all folders; of a list that has grown only what is new is read."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}  # bytes, of each list
        self._groups: dict[Path, dict[str, tuple[Path, ...]]] = {}  # by folder and pattern

    def find(self, folder: Path, pattern: str) -> tuple[Path, ...] | None:
        """Return the voices of a recording that :func:`record_group` noted last, also those that are gone.

        None where it noted nothing; an empty tuple of a recording in which nobody speaks.
        """
        groups = self._groups.setdefault(folder, {})
        rows, self._read[folder] = _read_rows(folder / OUTPUT_LIST, self._read.get(folder, 0))
        for row in rows:
            with suppress(TypeError, KeyError):
                groups[row["pattern"]] = tuple(folder / str(name) for name in row["group"])
        return groups.get(pattern)


def _add_row(folder: Path, row: JsonMapping) -> None:
    # One write of a line to the end of a file is whole, whoever else writes.
    with suppress(OSError), (folder / OUTPUT_LIST).open("ab", buffering=0) as file:
        file.write(json.dumps(row).encode() + b"\n")


class OutputLists:
    """The lists of all folders, each read once."""

    def __init__(self) -> None:
        self._rows: dict[Path, dict[str, JsonMapping]] = {}  # by folder and name

    def is_output(self, path: Path) -> bool:
        """Return whether a file is one that was written here, and neither was changed nor is another of its name."""
        if path.parent not in self._rows:
            rows = _read_rows(path.parent / OUTPUT_LIST)[0]
            self._rows[path.parent] = {str(row["name"]): row for row in rows if isinstance(row, dict) and "name" in row}
        row = self._rows[path.parent].get(path.name)
        if row is None:
            return False
        try:
            status = path.stat()
            if status.st_size != row.get("bytes"):
                return False
            if row.get("modified_ns", status.st_mtime_ns) == status.st_mtime_ns:  # older lists have sizes alone
                return True
            return sha256_of(path) == row.get("sha256")  # a copy with another time
        except OSError:
            return False


def _read_rows(path: Path, start: int = 0) -> tuple[list[Any], int]:
    """Return the rows of a list that can be read, from a byte on, and the byte behind the last whole line."""
    try:
        with path.open("rb") as file:
            file.seek(start if start <= path.stat().st_size else 0)  # what was rewritten is read from its beginning
            start, content = file.tell(), file.read()
    except OSError:
        return [], 0
    whole = content[: content.rfind(b"\n") + 1]
    return [*parse_json_lines(whole)], start + len(whole)
