"""Turning a corpus that is on disk into manifests; nothing is copied and nothing fetched."""

import math
from dataclasses import dataclass
from pathlib import Path

from septool import audio, manifest
from septool.corpora import CORPORA
from septool.errors import SeptoolError, UsageError


@dataclass(frozen=True)
class Prepared:
    """One manifest."""

    path: str
    split: str
    kind: str  # "speech": one utterance a row; "mixtures": one mixture a row
    rows: int
    speakers: int
    hours: float
    sha256: str


def parse_split(text: str) -> dict[str, float]:
    """Read ``train=0.9,dev=0.1`` (or just ``train``) into shares."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        try:
            share = float(value) if equals else 1.0
        except ValueError:
            share = -1.0
        if not name or not 0 < share < math.inf:
            raise UsageError(f"--split {text!r} is not like train=0.9,dev=0.05,test=0.05")
        shares[name] = share
    return shares


def prepare(
    corpus: str,
    source: Path,
    *,
    out: Path = Path("data"),
    split: str = "train=0.9,dev=0.05,test=0.05",
    mixtures: int = 200,
    sources: int = 2,
    sample_rate: int = 8000,
    difference_db: float = 5.0,
    minimum_seconds: float = 1.0,
    seed: int = 0,
    jobs: int = 1,
    force: bool = False,
    dry_run: bool = False,
) -> tuple[list[Prepared], list[str]]:
    """Prepare a corpus.

    For each split ``{split}-speech.jsonl`` lists the utterances (what training mixes anew every epoch)
    and ``{split}-{n}mix.jsonl`` fixed mixtures of them, except for ``train``.

    Args:
        corpus: which one; ``folder`` is any tree ``speaker/.../utterance.flac``.
        source: where it is.
        out: where the manifests go.
        split: shares of the speakers, such as ``train=0.9,dev=0.1``.
        mixtures: fixed mixtures per split.
        sources: voices in a mixture.
        sample_rate: Hz of the mixtures.
        difference_db: largest level difference between voices.
        minimum_seconds: shorter utterances are left out.
        seed: of dealing and pairing.
        jobs: processes.
        force: replace manifests that are there.
        dry_run: count, but write nothing.

    Returns:
        The manifests, and a line for each file that was left out.
    """
    shares = parse_split(split)
    build = CORPORA[corpus]
    there = [path for name in shares if (path := out / f"{name}-speech.jsonl").exists()]
    if there and not force and not dry_run:
        raise SeptoolError(f"{there[0]} exists; use --force to replace it")
    result = build(
        source,
        out,
        split=shares,
        mixtures=mixtures,
        sources=sources,
        sample_rate=sample_rate,
        difference_db=difference_db,
        minimum_seconds=minimum_seconds,
        seed=seed,
        jobs=jobs,
    )
    left_out = result.pop("left out")
    files: list[tuple[Path, str, str, list[manifest.Mixture]]] = []
    for name, (speech, fixed) in result.items():
        if not speech:
            raise SeptoolError(f"split {name} got no speakers; give it a larger share or drop it")
        files.append((out / f"{name}-speech.jsonl", name, "speech", speech))
        if fixed:
            files.append((out / f"{name}-{sources}mix.jsonl", name, "mixtures", fixed))
    there = [path for path, *_ in files if path.exists()]
    if there and not force and not dry_run:
        raise SeptoolError(f"{there[0]} exists; use --force to replace it")
    prepared = []
    if not dry_run:
        audio.make_folder(out)
    for path, name, kind, rows in files:
        text = manifest.dump(rows)
        if not dry_run:
            with audio.replacing(path) as partial:
                partial.write_text(text, encoding="utf-8")
        people = {source.speaker for row in rows for source in row.sources}
        length = hours(rows) if kind == "speech" else 0.0
        prepared.append(Prepared(str(path), name, kind, len(rows), len(people), length, manifest.sha256(text.encode())))
    return prepared, left_out


def hours(rows: list[manifest.Mixture]) -> float:
    """Length of all utterances together."""
    return sum(row.sources[0].frames / row.sample_rate for row in rows) / 3600
