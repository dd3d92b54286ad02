"""The interface of a corpus: a description, and a function whose keyword parameters are its options."""

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Literal, TypeVar

from septool import audio, workers
from septool.config import JsonDict
from septool.data.manifest import Mixture
from septool.data.trials import Trial
from septool.errors import AudioError, SeptoolError, UsageError
from septool.printable import printable
from septool.signal.levels import power_of, power_to_db

Value = TypeVar("Value")


@dataclass(frozen=True)
class ManifestPart:
    """One manifest that a corpus gives; ``rows`` are those whose recordings are all there."""

    name: str  # name of the file, without .jsonl
    split: str
    rows: list[Mixture]
    kind: Literal["speech", "mixtures"] = "mixtures"  # one utterance a row, or one mixture
    missing: int = 0  # rows that the published list has besides

    @classmethod
    def of_list(cls, name: str, split: str, made: Iterable[Mixture | None]) -> "ManifestPart":
        """Return what could be made of a published list of mixtures, None standing for those that could not."""
        mixtures = list(made)
        rows = [row for row in mixtures if row]
        return cls(name, split, rows, missing=len(mixtures) - len(rows))


@dataclass(frozen=True)
class TrialList:
    """A list of trials that a corpus gives, paths from the manifests' folder."""

    name: str  # name of the file, without .txt
    split: str
    trials: list[Trial]
    speakers: int
    missing: int = 0  # trials that the published list has besides


@dataclass(frozen=True)
class PreparedRows:
    """What a corpus gave, and a line for every recording that is missing or cannot be used."""

    parts: list[ManifestPart]
    left_out: list[str] = field(default_factory=list)
    trials: list[TrialList] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # recordings that cannot be decoded to their end; in no row


@dataclass(frozen=True)
class Corpus:
    """One corpus. ``prepare(source, out, *, jobs, ...)`` builds its rows."""

    about: str
    licence: str
    size: str  # size of what the user must have
    expects: str  # the folder, exactly
    prepare: Callable[..., PreparedRows]

    @property
    def options(self) -> JsonDict:
        """The options it takes and their defaults; ``inspect.Parameter.empty`` is one that has to be given."""
        parameters = inspect.signature(self.prepare).parameters
        return {
            name: parameter.default for name, parameter in parameters.items() if name not in ("source", "out", "jobs")
        }


def select_splits(splits: str | None, known: Mapping[str, Value]) -> dict[str, Value]:
    """Return the published splits that ``--split train,dev`` names; all without it."""
    names = [name.strip() for name in splits.split(",")] if splits else list(known)
    for name in names:
        if name not in known:
            raise UsageError(f"--split {splits!r} names {name!r}; there are {', '.join(known)}")
    return {name: known[name] for name in names}


def check_choice(option: str, value: Value, allowed: Sequence[Value]) -> None:
    """Refuse a value that an option of this corpus does not have."""
    if value not in allowed:
        raise UsageError(f"{option} is {value}; here it can be {' or '.join(map(str, allowed))}")


def next_utterance(utterances: Sequence[Value], utterance: Value) -> Value:
    """Return the next one, the first after the last: of a speaker's utterances, the enrollment that goes with one."""
    return utterances[(utterances.index(utterance) + 1) % len(utterances)]


def read_headers(paths: Iterable[Path], rate: int, jobs: int) -> tuple[dict[Path, audio.AudioInfo], list[str]]:
    """Read every file's header.

    Returns:
        What the usable files say, and a line for each that is damaged or not at ``rate``. What is missing is
        given as the highest folder that is missing, and the number of its files.
    """
    wanted = sorted(set(paths))
    found: dict[Path, audio.AudioInfo] = {}
    absent: list[Path] = []
    damaged: list[str] = []
    for path, result in zip(wanted, workers.each(partial(_header, rate), wanted, jobs), strict=True):
        if isinstance(result, audio.AudioInfo):
            found[path] = result
        elif result is None:
            absent.append(path)
        else:
            damaged.append(result)
    return found, describe_missing(absent) + damaged


def _header(rate: int, path: Path) -> audio.AudioInfo | str | None:
    if not path.exists():
        return None
    result = inspect_recording(path)
    if isinstance(result, audio.AudioInfo) and result.rate != rate:
        return f"{path} is {result.rate} Hz; the published recordings are {rate} Hz"
    return result


def inspect_recording(path: Path, *, decode: bool = False) -> audio.AudioInfo | str:
    """Return what a file holds, or a line that says why it cannot be read to its end.

    Args:
        path: the file.
        decode: decode all of it, where its header would do.
    """
    try:
        header = audio.audio_info(path, decode=decode)
    except AudioError as error:
        return str(error)
    return next((finding.describe(printable(path)) for finding in header.findings if finding.is_partial), header)


def describe_missing(paths: Iterable[Path]) -> list[str]:
    """Return which files are missing, a whole folder in one line."""

    @cache
    def highest(folder: Path) -> Path | None:
        if folder.exists() or folder == folder.parent:
            return None
        return highest(folder.parent) or folder

    counts = Counter(highest(path.parent) or path for path in paths)
    lone = set(paths)
    return [
        f"{folder} does not exist" if folder in lone else f"{folder} does not exist ({count} files of it are needed)"
        for folder, count in sorted(counts.items())
    ]


def require_folder(folder: Path, holds: str) -> None:
    """Refuse a place that is not a folder."""
    if not folder.is_dir():
        raise SeptoolError(f"{folder} is not a directory; give the folder that holds {holds}")


def recording_level_db(path: Path, start: int = 0, frames: int = -1) -> float:
    """Return the level of a segment of a file in dB; minus infinity if it is silent or cannot be read."""
    try:
        samples, _ = audio.read_audio(path, start, frames)
    except AudioError:
        return -math.inf
    level_db = float(power_to_db(power_of(audio.to_mono(samples))))
    return level_db if level_db < math.inf else -math.inf
