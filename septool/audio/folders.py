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
    """What a folder and those below hold, each list sorted."""

    files: list[Path]  # recordings, by their suffixes
    left_out: list[Path]  # everything else that is not hidden


def find_audio_files(folder: Path, suffixes: Set[str] | None = None) -> FoundAudio:
    """Search a folder and those below for recordings; links are followed.

    What is hidden, or in a hidden folder below, is other programs' own, such as the ._call.wav that macOS leaves
    beside call.wav. A folder below that cannot be listed is among what is left out, as is a link that goes in a circle.

    Args:
        folder: the folder.
        suffixes: of recordings, with their dots; by default of all that can be read here.

    Raises:
        AudioError: the folder itself cannot be listed.
    """
    known = readable_suffixes() if suffixes is None else suffixes
    found = FoundAudio([], [])
    for path, is_file in sorted(_below(folder, frozenset())):
        found[not is_file or path.suffix.lower() not in known].append(path)
    return found


def describe_left_out(paths: Sequence[Path]) -> str | None:
    """Return one line that says what was left out, files of one suffix counted together; None if there is nothing.

    What holds audio that nothing here reads, and folders and links that lead nowhere, are told by their names.
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
    """Yield what is below a folder, and whether it is a file, or a link to one that is gone, rather than a folder."""
    try:
        about = folder.stat()
        here = (about.st_dev, about.st_ino)
        if here in above:  # a link to a folder that it is in
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
        except OSError:  # a link in a circle, or into a folder that nobody lets us into
            yield folder / entry.name, False
            continue
        if is_folder:
            yield from _below(folder / entry.name, above | {here})
        elif is_file or entry.is_symlink():  # one to a file that is gone fails when its turn comes
            yield folder / entry.name, True
