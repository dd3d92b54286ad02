"""Mixture manifests: JSON lines, sorted, with paths relative to the manifest's own folder.

One row is one mixture and says all that is needed to make it; the same input gives the same bytes on
every machine. A row with a single source is an utterance: a manifest of those is an utterance pool.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, Protocol, TypeVar, cast

from septool.config import JsonDict, build, field_values
from septool.errors import ConfigError, ManifestError
from septool.files import read_text, relative_path
from septool.limits import HIGHEST_RATE, LOWEST_RATE

# NULs, and halves of characters, which JSON can hold; some of those stand for the bytes of a name that is no UTF-8.
NO_NAME = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
MOST_DB = 200.0  # more than any recording has between its loudest and its quietest sample
SLOWEST, FASTEST = 0.1, 10.0  # speeds beyond which there is no speech, but a length that nobody meant
ENROLLMENT_KEY = "enrolment"  # spelling in files, which keep their bytes; "enrollment" is read too
# Fields that are written only where they say something, so that manifests without them keep their bytes.
SPARSE = {"gender": None, "text": None, "rendering": None, "voices_gain_db": 0.0, "room": None}


class Row(Protocol):
    """A line of a manifest."""

    @property
    def id(self) -> str:
        """Its identifier; no two rows share one."""
        ...

    def recordings(self) -> list[Path]:
        """Return the files of all that the row is made of."""
        ...


RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A segment of a file; ``start`` and ``frames`` count samples at the file's own rate."""

    path: str
    start: int = 0
    frames: int = -1  # -1: to the end
    gain_db: float = 0.0
    speaker: str = ""
    speed: float = 1.0  # 1.05 is five percent faster (and higher)
    gender: str | None = None
    text: str | None = None  # what is said

    def __post_init__(self) -> None:
        check_cut(self.path, self.start, self.frames)
        check_level(f"{self.path} has the gain", self.gain_db)
        if not SLOWEST <= self.speed <= FASTEST:
            raise ValueError(f"{self.path} has the speed {self.speed}; it is {SLOWEST:g} to {FASTEST:g}")


@dataclass(frozen=True, kw_only=True)
class Enrollment:
    """A recording of the speaker of source ``target``, for extraction."""

    path: str
    start: int = 0
    frames: int = -1
    speaker: str = ""
    target: int = 0

    def __post_init__(self) -> None:
        check_cut(self.path, self.start, self.frames)


def check_cut(path: str, start: int, frames: int) -> None:
    """Refuse what is no part of a file, from sample ``start`` on, ``frames`` long or to the end (-1)."""
    check_name(path)
    if start < 0 or frames < -1:
        raise ValueError(f"{path} starts at {start} and has {frames} frames")


def check_name(name: str) -> None:
    """Refuse what no file can be called."""
    if NO_NAME.search(name):
        raise ValueError(f"{name!r} cannot be a file's name")


def check_row(id: str, rate: int) -> None:
    """Refuse an id that no file can be called by, and a rate in Hz that no recording has."""
    check_name(id)
    if not id:
        raise ValueError("id is empty")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ValueError(f"sample_rate is {rate}; it is {LOWEST_RATE} to {HIGHEST_RATE} Hz")


def check_level(what: str, gain_db: float) -> None:
    """Refuse a gain in dB that no recording can have."""
    if not -MOST_DB <= gain_db <= MOST_DB:
        raise ValueError(f"{what} {gain_db} dB; it has to be a number from {-MOST_DB:g} to {MOST_DB:g}")


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """One row. ``frames`` counts samples at ``sample_rate``; None means: as long as the sources say."""

    id: str
    sources: tuple[Source, ...]
    sample_rate: int
    split: str = ""
    mode: Literal["min", "max"] = "min"
    frames: int | None = None
    noise: Source | None = None
    mixture: str | None = None  # a rendered file, else mixed on the fly
    enrollment: Enrollment | None = field(default=None, metadata={"formerly": ENROLLMENT_KEY})
    rendering: Literal["librimix", "wsj0-mix", "wham"] | None = None  # the published script to follow to the sample
    room: str | None = None  # the name of the one that the voices are in
    voices_gain_db: float = 0.0  # on all voices after their own gains, where that script has such a step (wham)
    root: Path = field(default=Path(), compare=False)  # where relative paths start; not in the file

    def __post_init__(self) -> None:
        check_row(self.id, self.sample_rate)
        if not self.sources:
            raise ValueError("sources is empty")
        if self.frames is not None and self.frames < 1:
            raise ValueError(f"frames is {self.frames}; a mixture has at least one")
        if self.enrollment and not 0 <= self.enrollment.target < len(self.sources):
            raise ValueError(
                f"enrollment.target is {self.enrollment.target}; the sources are numbered from 0 "
                f"to {len(self.sources) - 1}"
            )
        check_level("voices_gain_db is", self.voices_gain_db)

    def locate(self, path: str) -> Path:
        """Return the file that a path of this row means."""
        return self.root / PurePosixPath(path)

    def recordings(self) -> list[Path]:
        """Return the files of all that the row is made of."""
        parts = (*self.sources, self.noise, self.enrollment)
        paths = (*(part.path for part in parts if part), self.mixture)
        return [self.locate(path) for path in paths if path is not None]


def read_manifest(path: Path) -> list[Mixture]:
    """Read a manifest.

    Raises:
        ManifestError: naming the file, the line and what is wrong with it.
    """
    return read_rows(path, Mixture)


def read_rows(path: Path, kind: type[RowT]) -> list[RowT]:
    """Read a manifest's rows, of mixtures or of whatever else has an id and a root.

    Raises:
        ManifestError: naming the file, the line and what is wrong with it.
    """
    try:
        if path.is_fifo():
            raise ManifestError(f"{path} is a named pipe; a manifest is read more than once, save it as a file")
        text = read_text(path)
    except FileNotFoundError:
        raise ManifestError(f"{path} does not exist; septool prepare writes manifests") from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path} is not a manifest: it is not text") from None
    # Not splitlines: a name may hold U+2028 and its like, which end no line of JSON.
    rows: dict[str, RowT] = {}
    for line, content in enumerate(text.split("\n"), 1):
        row = _row(path, line, content, kind)
        if row and row.id in rows:
            raise ManifestError(f"{path}, line {line}: the id {row.id!r} is there already; every row needs its own")
        if row:
            rows[row.id] = row
    if not rows:
        raise ManifestError(f"{path} has no rows")
    return list(rows.values())


def _row(path: Path, line: int, content: str, kind: type[RowT]) -> RowT | None:
    if not content.strip():
        return None
    try:
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("a row is a JSON object")
        return build(kind, cast("JsonDict", values) | {"root": path.parent})
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{path}, line {line} is not JSON ({error.msg} at character {error.pos + 1}); a manifest has an object a "
            "line, as septool prepare writes it"
        ) from None
    except RecursionError:
        raise ManifestError(f"{path}, line {line} is nested too deeply to be a row") from None
    except (ValueError, ConfigError) as error:
        raise ManifestError(f"{path}, line {line}: {error}") from None


def dump_manifest(rows: Iterable[Mixture]) -> str:
    """Return the manifest's text, rows sorted by id."""
    return "".join(dump_row(row_to_dict(row)) for row in sorted(rows, key=lambda row: row.id))


def dump_row(values: JsonDict) -> str:
    """Return a line of a manifest, in ASCII alone where UTF-8 has no room for a half of a character in it."""
    line = json.dumps(values, ensure_ascii=False) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(values) + "\n"
    return line


def row_to_dict(row: Mixture) -> JsonDict:
    """Return a row as it stands in the file."""
    values = _plain(row)
    values["sources"] = [_plain(source) for source in row.sources]
    values["noise"] = _plain(row.noise) if row.noise else None
    values[ENROLLMENT_KEY] = _plain(row.enrollment) if row.enrollment else None
    return values


def _plain(part: Source | Enrollment | Mixture) -> JsonDict:
    return {
        ENROLLMENT_KEY if key == "enrollment" else key: value
        for key, value in field_values(part).items()
        if key != "root" and (key not in SPARSE or value != SPARSE[key])
    }


def manifest_path(path: Path, folder: Path) -> PurePath:
    """Return the way from a manifest's folder to a file or folder, the same on every machine.

    Both are resolved first, since a path through a link goes up from where the link leads. Between two drives of
    Windows it is the whole path.
    """
    return relative_path(path.resolve(), folder.resolve())


def file_stem(id: str) -> str:
    """Return what the files of a mixture are called."""
    return id.replace("/", "_")


def iter_from(rows: Sequence[RowT], start: int) -> Iterator[RowT]:
    """Yield each row once, those from ``start`` on and then those before; only what is yielded is looked at."""
    return (rows[index] for index in chain(range(start, len(rows)), range(start)))


def iter_sources(rows: Iterable[Mixture]) -> Iterator[tuple[Mixture, Source]]:
    """Yield every distinct source of a manifest with the row that names it."""
    seen: set[tuple[str, int, int, float]] = set()
    for row in rows:
        for source in row.sources:
            key = (source.path, source.start, source.frames, source.speed)
            if key not in seen:
                seen.add(key)
                yield row, source
