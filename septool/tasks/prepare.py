"""Preparing a corpus on disk: writes manifests; nothing is copied or downloaded."""

import inspect
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from septool import workers
from septool.atomic import atomic_write
from septool.config import JsonDict
from septool.corpora import CORPORA
from septool.corpora.base import Corpus, ManifestPart, PreparedRows, TrialList, inspect_recording
from septool.data import manifest, trials
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, refuse_existing, sha256_of


@dataclass(frozen=True)
class Prepared:
    """One manifest."""

    path: str
    split: str
    kind: str  # "speech": one utterance a row; "mixtures": one mixture a row; "trials": one trial a row
    rows: int
    missing: int  # rows of the published list that lack a recording, and are not in the manifest
    speakers: int
    hours: float | None  # None where the lengths are not known before mixing
    bytes: int  # size of the manifest; 0 if all its rows lack a recording, and it is not written
    rendered_bytes: int | None  # size of all its audio if `mix` writes it in 16 bits
    sha256: str


@dataclass(frozen=True)
class PreparedCorpus:
    """The manifests of a corpus, and a line for each recording that is in none of them."""

    manifests: list[Prepared]
    left_out: list[str]  # missing, or not used
    damaged: list[str]  # cannot be decoded to their end


def prepare(
    corpus: str,
    source: Path,
    *,
    out: Path = Path("data"),
    jobs: int = 1,
    force: bool = False,
    dry_run: bool = False,
    verify: bool = False,
    **options: object,
) -> PreparedCorpus:
    """Prepare a corpus: write one manifest per split and kind of row.

    A manifest that is there with the same content is left as it is, so a stopped run resumes.

    Args:
        corpus: which one; see :data:`septool.corpora.CORPORA`.
        source: where it is.
        out: where the manifests go.
        jobs: processes.
        force: replace manifests that are there.
        dry_run: count, but write nothing.
        verify: decode every recording to its end; the rows of those that are damaged are left out.
        options: of the corpus itself; see its ``prepare``.

    Raises:
        UsageError: an unknown corpus, an option that it does not have, or one that it needs.
        SeptoolError: all its recordings are missing, or a manifest is there and ``force`` is false.
    """
    entry: Corpus = CORPORA[corpus]
    _check(corpus, entry, options)
    found = entry.prepare(source, out, jobs=jobs, **options)
    if verify:
        found = _verify(found, out, jobs)
    if not any(part.rows for part in found.parts) and not any(trial_list.trials for trial_list in found.trials):
        raise SeptoolError(
            f"{source} lacks all recordings of {corpus}: {'; '.join([*found.damaged, *found.left_out][:1])}"
        )
    files = [(out / f"{part.name}.jsonl", part, manifest.dump_manifest(part.rows).encode()) for part in found.parts]
    lists = [
        (out / f"{trial_list.name}.txt", trial_list, trials.dump_trials(trial_list.trials).encode())
        for trial_list in found.trials
    ]
    if not dry_run:
        _write({path: content for path, _, content in files + lists if content}, force)
    manifests = [_describe(*file) for file in files] + [_describe_trials(*file) for file in lists]
    return PreparedCorpus(manifests, found.left_out, found.damaged)


def _verify(found: PreparedRows, out: Path, jobs: int) -> PreparedRows:
    """Decode all recordings of what a corpus gave, and leave out the rows of those that are damaged."""

    def place(path: str | Path) -> Path:
        return Path(os.path.normpath(out.resolve() / path))  # without the ".."s, since `out` need not be there yet

    named = {place(path) for part in found.parts for row in part.rows for path in row.recordings()}
    named |= {
        place(path)
        for trial_list in found.trials
        for trial in trial_list.trials
        for path in (trial.first, trial.second)
    }
    paths = sorted(named)
    inspected = zip(paths, workers.each(partial(inspect_recording, decode=True), paths, jobs), strict=True)
    reasons = {path: result for path, result in inspected if isinstance(result, str)}

    def keep_row(row: manifest.Mixture) -> bool:
        return reasons.keys().isdisjoint(map(place, row.recordings()))

    def keep_trial(trial: trials.Trial) -> bool:
        return reasons.keys().isdisjoint((place(trial.first), place(trial.second)))

    parts = []
    for part in found.parts:
        rows = list(filter(keep_row, part.rows))
        parts.append(replace(part, rows=rows, missing=part.missing + len(part.rows) - len(rows)))
    lists = []
    for trial_list in found.trials:
        kept = list(filter(keep_trial, trial_list.trials))
        lists.append(replace(trial_list, trials=kept, missing=trial_list.missing + len(trial_list.trials) - len(kept)))
    return replace(found, parts=parts, trials=lists, damaged=[*found.damaged, *reasons.values()])


def _write(files: dict[Path, bytes], force: bool) -> None:
    changed = {path: content for path, content in files.items() if not path.exists() or path.read_bytes() != content}
    for path in changed:
        refuse_existing(path, force=force)
        make_folder(path.parent)
    for path, content in changed.items():
        with atomic_write(path) as partial:
            partial.write_bytes(content)


def _describe(path: Path, part: ManifestPart, content: bytes) -> Prepared:
    lengths = [_frames(row) for row in part.rows]
    frames = [length for length in lengths if length is not None]
    known = len(frames) == len(lengths)
    return Prepared(
        path=str(path),
        split=part.split,
        kind=part.kind,
        rows=len(part.rows),
        missing=part.missing,
        speakers=len({source.speaker for row in part.rows for source in row.sources}),
        hours=sum(n / row.sample_rate for n, row in zip(frames, part.rows, strict=True)) / 3600 if known else None,
        bytes=len(content),
        rendered_bytes=sum(2 * n * _files(row) for n, row in zip(frames, part.rows, strict=True))
        if known and part.kind == "mixtures"
        else None,
        sha256=sha256_of(content) if content else "",
    )


def _describe_trials(path: Path, part: TrialList, content: bytes) -> Prepared:
    return Prepared(
        path=str(path),
        split=part.split,
        kind="trials",
        rows=len(part.trials),
        missing=part.missing,
        speakers=part.speakers,
        hours=None,
        bytes=len(content),
        rendered_bytes=None,
        sha256=sha256_of(content) if content else "",
    )


def _files(row: manifest.Mixture) -> int:
    """Return how many files ``mix`` writes for a row."""
    return 1 + len(row.sources) + (row.noise is not None)


def describe() -> list[dict[str, str]]:
    """Return what ``prepare --list`` shows of every corpus."""
    return [
        {
            "corpus": name,
            "about": entry.about,
            "licence": entry.licence,
            "size": entry.size,
            "expects": entry.expects,
            "options": " ".join(_default(option, default) for option, default in entry.options.items()),
        }
        for name, entry in CORPORA.items()
    ]


def _default(option: str, value: object) -> str:
    if isinstance(value, tuple):
        value = " ".join(f"{number:g}" for number in value)
    if value is inspect.Parameter.empty:
        return _written(option)
    return f"[{_written(option)}]" if value is None else f"[{_written(option)} {value}]"


def _written(option: str) -> str:
    return "--" + option.replace("_", "-")


def _check(corpus: str, entry: Corpus, options: JsonDict) -> None:
    """Refuse options that a corpus does not have, and the lack of those that it needs."""
    for name in options:
        if name not in entry.options:
            takes = ", ".join(map(_written, entry.options))
            raise UsageError(f"{corpus} does not take {_written(name)}; it takes {takes}")
    for name, default in entry.options.items():
        if default is inspect.Parameter.empty and name not in options:
            raise UsageError(f"{corpus} needs {_written(name)}; it expects {entry.expects}")


def _frames(row: manifest.Mixture) -> int | None:
    """Return a row's length at its rate, if it is known without opening a file."""
    if row.frames is not None or len(row.sources) != 1:
        return row.frames
    frames = row.sources[0].frames
    return None if frames < 0 else frames  # to the end, wherever that is
