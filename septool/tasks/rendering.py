"""Rendering the rows of a manifest to files and a manifest beside them, which can be stopped and taken up again."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Generic, NamedTuple

from septool import workers
from septool.atomic import atomic_write, recover
from septool.batch.path_keys import abspath_key, keys_read
from septool.batch.stdio import PIPE
from septool.cluster import spread
from septool.config import JsonDict
from septool.data import manifest
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, sha256_of

RECORD = "rendered.json"  # what the files of a folder were rendered from


def check_subtype(subtype: str) -> None:
    """Refuse sample formats that mixtures are not written in."""
    if subtype not in ("PCM_16", "FLOAT"):
        raise UsageError(f"--subtype is {subtype!r}; it can be PCM_16 or FLOAT")


def check_rendering(source: Path, out: Path, subtype: str) -> None:
    """Refuse what no manifest can be rendered as."""
    check_subtype(subtype)
    if str(out) == PIPE:
        raise UsageError(f"{source} is rendered to many files; name a folder with --out")


class Rendering(NamedTuple):
    """How the rows of a manifest are rendered."""

    out: Path  # folder of the files
    sample_rate: int | None  # Hz instead of each row's own
    subtype: str  # sample format
    force: bool  # render again what is there
    jobs: int  # processes
    cluster: str | None  # whose workers take their place
    report: Callable[[int, int], None]  # called with the number done, of how many


class RenderedRow(NamedTuple, Generic[manifest.RowT]):
    """A row that was rendered."""

    row: manifest.RowT  # the row of the files
    scaled_db: float = 0.0  # gain on all of it that kept its peak below full scale


@dataclass(frozen=True)
class RowKind(Generic[manifest.RowT]):
    """What the rows of a manifest are, and what is made of them."""

    called: str  # in messages
    list_name: str  # name of the manifest beside the files
    read: Callable[[Path], Sequence[manifest.RowT]]
    to_dict: Callable[[manifest.RowT], JsonDict]
    targets: Callable[[manifest.RowT, Path], Sequence[Path]]  # the files of a row in a folder
    # Given a row and, by their names, out, sample_rate, subtype and outdated: the ids of rows whose files are replaced.
    render: Callable[..., RenderedRow[manifest.RowT] | SeptoolError]
    dump: Callable[[list[manifest.RowT]], str]  # the manifest of what was rendered


class RenderedRows(NamedTuple, Generic[manifest.RowT]):
    """What was rendered of a manifest."""

    path: Path  # the manifest beside the files
    digest: str  # sha256 of the manifest that they are from
    rows: list[RenderedRow[manifest.RowT]]
    failed: list[str]  # a line for each row that could not be rendered

    @property
    def scaled_db(self) -> dict[str, float]:
        """The gains of those that had to be scaled, by id."""
        return {rendered.row.id: rendered.scaled_db for rendered in self.rows if rendered.scaled_db}


def render_rows(
    kind: RowKind[manifest.RowT], rows: Sequence[manifest.RowT], source: Path, settings: Rendering
) -> RenderedRows[manifest.RowT]:
    """Render rows to the files of a folder and a manifest beside them.

    What is there of a row stays until it can be replaced.

    Args:
        kind: what the rows are.
        rows: all of them.
        source: the manifest that they are from.
        settings: where to, and as what.

    Raises:
        UsageError: a file that is read would be written over.
        SeptoolError: what is there is of something else, or no row could be rendered.
    """
    out, sample_rate, subtype, force = settings.out, settings.sample_rate, settings.subtype, settings.force
    path, digest = out / kind.list_name, sha256_of(source)
    targets = {row.id: kind.targets(row, out) for row in rows}
    read = (recording for row in rows for recording in row.recordings())
    check_targets([path, *chain.from_iterable(targets.values())], chain([source], read), source)
    known = () if force or not path.exists() else kind.read(path)
    check_list((row.id for row in known), (row.id for row in rows), path, source)
    make_folder(out)
    recover(out)
    described = {row.id: kind.to_dict(row) for row in rows}
    keys = {id: row_key(row, sample_rate or row["sample_rate"], subtype) for id, row in described.items()}
    facts: JsonDict = {"manifest_sha256": digest, "sample_rate": sample_rate, "subtype": subtype}
    record = start_record(out, targets, keys, facts, force=force)
    rendered: list[RenderedRow[manifest.RowT]] = []
    failed: list[str] = []
    work = partial(kind.render, out=out, sample_rate=sample_rate, subtype=subtype, outdated=frozenset(record.outdated))
    try:
        results = spread(partial(_render_alone, work), rows, settings.jobs, settings.cluster, killed=_killed)
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, SeptoolError):
                failed.append(f"{row.id}: {result}")
            else:
                rendered.append(result)
                record.outdated.discard(row.id)
            settings.report(len(rendered) + len(failed), len(rows))
    finally:
        record.write(out / RECORD)
    if not rendered:
        raise SeptoolError(
            f"none of the {len(rows)} {kind.called} of {source} could be rendered, whose paths start from "
            f"{source.parent.resolve()}; the first: {failed[0]}"
        )
    with atomic_write(path) as partial_path:
        partial_path.write_text(kind.dump([item.row for item in rendered]), encoding="utf-8")
    return RenderedRows(path, digest, rendered, failed)


def _render_alone(
    work: Callable[[manifest.RowT], RenderedRow[manifest.RowT] | SeptoolError], row: manifest.RowT
) -> RenderedRow[manifest.RowT] | SeptoolError:
    try:
        return work(row)
    except MemoryError:
        return SeptoolError(f"there is not enough memory {workers.TOO_LARGE}")


def _killed(row: manifest.Row) -> SeptoolError:  # noqa: ARG001
    return SeptoolError(workers.KILLED)


def check_targets(targets: Sequence[Path], read: Iterable[Path], source: Path) -> None:
    """Refuse files that two rows of a manifest would be written to, or that are read for it.

    Raises:
        SeptoolError: naming one that two rows share.
        UsageError: naming a recording that would be lost.
    """
    keys: set[str] = set()
    for target in targets:
        if (key := abspath_key(target)) in keys:
            raise SeptoolError(f"two rows of {source} would be written to {target.name}; give them other ids")
        keys.add(key)
    for path in read:
        if keys_read(path) & keys:
            raise UsageError(f"{path} would be written over while it is read; name another --out")


def check_list(before: Iterable[str], now: Iterable[str], path: Path, source: Path) -> None:
    """Refuse to write over the list ``path`` of other mixtures, by their ids."""
    others = set(before) - set(now)
    if others:
        raise SeptoolError(
            f"{path} lists {len(others)} mixtures that {source} does not have; use another --out, or --force to "
            "replace the list"
        )


@dataclass
class RenderRecord:
    """What the files of a folder were rendered from."""

    facts: JsonDict
    rows: dict[str, str]  # keys of the rows, by :func:`row_key`
    outdated: set[str]  # rows whose files are still those of before

    def write(self, path: Path) -> None:
        """Write it beside the files."""
        values = self.facts | {"rows": self.rows}
        if self.outdated:
            values["outdated"] = sorted(self.outdated)
        with atomic_write(path) as partial_path:
            partial_path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def start_record(
    out: Path, targets: Mapping[str, Sequence[Path]], keys: Mapping[str, str], facts: JsonDict, *, force: bool
) -> RenderRecord:
    """Keep beside the files what they are rendered from; refuse mixtures that are there of something else.

    Written before the first file, so that whatever is there after a stop is of what it says, or said to be outdated.

    Args:
        out: folder of the files.
        targets: the files of each row, by its id.
        keys: of each row, by :func:`row_key`.
        facts: what else is to be kept.
        force: replace what is there.
    """
    path = out / RECORD
    before, outdated = ({}, set[str]()) if force else _recorded(path)
    for id, files in targets.items():
        if before.get(id) == keys[id]:
            continue
        target = next((path for path in files if path.exists()), None)
        if target and not force:
            raise SeptoolError(
                f"{target} is there of another row, rate or subtype; use --force to render all again, or another --out"
            )
        if target:
            outdated.add(id)
    record = RenderRecord(facts, {**before, **keys}, outdated)
    record.write(path)
    return record


def _recorded(path: Path) -> tuple[dict[str, str], set[str]]:
    """Return the keys of the rows whose files are there, and which of those are still to be rendered again."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return dict(record["rows"]), set(record.get("outdated", ()))
    except FileNotFoundError:
        return {}, set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeptoolError(f"{path} cannot be read ({error}); use --force to render all again") from None


def row_key(row: JsonDict, rate: int, subtype: str) -> str:
    """Return the sha256 of all that a row's samples depend on besides its recordings."""
    return sha256_of(json.dumps([row, rate, subtype]).encode())
