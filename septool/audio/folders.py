"""Finding the recordings in a folder, and naming the files that are skipped."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from septool.audio.formats import AV_HINT, FOREIGN, readable_suffixes
from septool.errors import AudioError
from septool.printable import printable


class FoundAudio(NamedTuple):
    """The contents of a folder and its subfolders, each list sorted."""

    files: list[Path]  # recordings, identified by suffix
    left_out: list[Path]  # all other files that are not hidden


def find_audio_files(folder: Path, suffixes: Set[str] | None = None) -> FoundAudio:
    """Search a folder and its subfolders for recordings; links are followed.

    Hidden files and subfolders are ignored, such as the ._call.wav that macOS creates beside call.wav. Subfolders that
    cannot be listed are listed among the skipped files; links to a folder that is being searched are ignored.

    Args:
        folder: the folder.
        suffixes: of recordings, with dots; by default all readable ones.

    Raises:
        AudioError: the folder itself cannot be listed.
    """
    known = readable_suffixes() if suffixes is None else suffixes
    found = FoundAudio([], [])
    for path, is_file in sorted(_below(folder, frozenset())):
        found[not is_file or path.suffix.lower() not in known].append(path)
    return found


def describe_left_out(paths: Sequence[Path]) -> str | None:
    """Return one line about the skipped files, counted by suffix; None if there are none.

    Audio in unsupported formats, and unreadable folders and links, are named individually.
    """
    named, others = list[Path](), Counter[str]()
    for path in paths:
        if path.suffix.lower() in FOREIGN or not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises here
            named.append(path)
        else:
            others[path.suffix.lower() or "without suffix"] += 1
    parts = [printable(path) for path in named] + [f"{count} {suffix}" for suffix, count in sorted(others.items())]
    if not parts:
        return None
    hint = f" ({AV_HINT})" if any(path.suffix.lower() in FOREIGN for path in named) else ""
    return f"left out: {', '.join(parts)}{hint}"


def _below(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[tuple[Path, bool]]:
    """Yield the entries below a folder, and whether each is a file, or a dangling link, rather than a folder."""
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link to one of its parent folders
            return
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        if above:
            yield folder, False
            return
        raise AudioError(f"{printable(folder)} cannot be listed: {error.strerror}") from None
    for entry in seen:
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a circular link, or a folder without permission
            yield folder / entry.name, False
            continue
        if is_folder:
            yield from _below(folder / entry.name, above | {here})
        elif is_file or entry.is_symlink():  # a dangling link fails when it is processed
            yield folder / entry.name, True
