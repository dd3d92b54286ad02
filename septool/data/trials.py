"""Trials of speaker verification: pairs of recordings, labeled as one speaker or two.

A list has the form of VoxCeleb's: ``1 FILE FILE`` for one speaker, ``0 FILE FILE`` for two, paths relative
to the list's own folder; tabs between them where a path has a space.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from septool.errors import ManifestError
from septool.files import read_text


class Trial(NamedTuple):
    """Two recordings."""

    same: bool  # they are of one speaker
    first: Path
    second: Path


def read_trials(path: Path) -> list[Trial]:
    """Read a list of trials.

    Raises:
        ManifestError: naming the file, the line and what is wrong with it.
    """
    try:
        text = read_text(path).rstrip()
    except FileNotFoundError:
        raise ManifestError(f"{path} does not exist; a list of trials has lines that read: 1 FILE FILE, or 0") from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path} is not a list of trials: it is not text") from None
    trials: list[Trial] = []
    # Not splitlines: a name may hold U+2028 and its like.
    for number, line in enumerate(text.split("\n") if text else [], 1):
        words = line.split("\t" if "\t" in line else None)
        if len(words) != 3 or words[0] not in ("0", "1"):
            raise ManifestError(f"{path}, line {number}: {line[:60]!r} is no trial; one reads: 1 FILE FILE, or 0")
        trials.append(Trial(words[0] == "1", path.parent / words[1], path.parent / words[2]))
    if len({trial.same for trial in trials}) < 2:
        raise ManifestError(f"{path} needs trials of both kinds, 1 (one speaker) and 0 (two)")
    return trials


def dump_trials(trials: Iterable[Trial]) -> str:
    """Return the text of a list; the paths of its trials start at its folder."""
    rows = [(str(int(same)), first.as_posix(), second.as_posix()) for same, first, second in trials]
    between = "\t" if any(" " in path for row in rows for path in row) else " "
    return "".join(between.join(row) + "\n" for row in rows)
