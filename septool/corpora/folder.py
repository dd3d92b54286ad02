"""Any folder of speech with one sub-folder per speaker: ``speaker/.../utterance.wav|flac|ogg|opus|mp3``.

The first folder level names the speaker; deeper levels are free. Speakers are assigned to splits
by name and seed alone, so the same tree gives the same manifests on every machine.
"""

import hashlib
import math
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from septool import audio, workers
from septool.corpora import base
from septool.data.manifest import Mixture, Source, manifest_path
from septool.errors import SeptoolError, UsageError
from septool.signal.levels import EMPTY_DB


def find_utterances(folder: Path) -> dict[str, list[Path]]:
    """Return the audio files of every speaker, both sorted.

    Raises:
        SeptoolError: no folder, or no audio in sub-folders of it.
    """
    base.require_folder(folder, "one folder per speaker")
    speakers: dict[str, list[Path]] = {}
    for path in audio.find_audio_files(folder).files:
        relative = path.relative_to(folder)
        if len(relative.parts) > 1:
            speakers.setdefault(relative.parts[0], []).append(path)
    if not speakers:
        raise SeptoolError(f"{folder} has no audio files in sub-folders; expected speaker/.../utterance.flac")
    return speakers


def assign_splits(speakers: list[str], shares: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """Assign speakers to splits: ``{speaker: split}``, the shares met as closely as whole speakers allow."""

    def rank(name: str) -> bytes:
        composed = unicodedata.normalize("NFC", name)  # macOS may decompose names of files
        return hashlib.sha256(f"{seed}/".encode() + os.fsencode(composed)).digest()

    ranked = sorted(speakers, key=rank)
    total = sum(shares.values())
    splits: dict[str, str] = {}
    start, reached = 0, 0.0
    for split, share in shares.items():
        reached += share / total
        end = round(reached * len(ranked))
        splits.update(dict.fromkeys(ranked[start:end], split))
        start = end
    return splits


def utterances(
    folder: Path,
    manifest_folder: Path,
    shares: Mapping[str, float],
    *,
    minimum_seconds: float,
    seed: int,
    jobs: int = 1,
) -> tuple[list[Mixture], list[str], list[str]]:
    """Return one row per utterance, a line for each file that was left out, and one for each that is damaged.

    Args:
        folder: the tree of speakers.
        manifest_folder: where the manifest will lie; paths are relative to it.
        shares: part of the speakers that each split gets.
        minimum_seconds: shorter files are left out.
        seed: another seed assigns the speakers differently.
        jobs: processes that read headers.
    """
    found = find_utterances(folder)
    start = manifest_path(folder, manifest_folder)
    splits = assign_splits([speaker for speaker in found if is_utf8(speaker)], shares, seed)
    rows: dict[str, Mixture] = {}
    left_out: list[str] = []
    damaged: list[str] = []
    files = [(speaker, path) for speaker, paths in found.items() for path in paths]
    inspected = workers.each(base.inspect_recording, (path for _, path in files), jobs)
    for (speaker, path), result in zip(files, inspected, strict=True):
        relative = path.relative_to(folder)
        name = relative.with_suffix("").as_posix()
        if not is_utf8(name):
            left_out.append(f"{path} has a name that is not UTF-8")
        elif isinstance(result, str):
            damaged.append(result)
        elif result.frames < minimum_seconds * result.rate:
            left_out.append(f"{path} is shorter than {minimum_seconds:g} s, the least that --minimum-seconds allows")
        elif name in rows:
            left_out.append(f"{path} goes by the same name as {Path(rows[name].sources[0].path).name} beside it")
        else:
            source = Source(path=(start / relative).as_posix(), frames=result.frames, speaker=speaker)
            rows[name] = Mixture(id=name, split=splits[speaker], sample_rate=result.rate, sources=(source,))
    return list(rows.values()), left_out, damaged


def is_utf8(name: str) -> bool:
    """Return whether a file's name is text; JSON cannot hold others."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_split(text: str) -> dict[str, float]:
    """Read ``train=0.9,dev=0.1`` (or just ``train``) into shares."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        try:
            share = float(value) if equals else 1.0
        except ValueError:
            share = -1.0
        if not name or "/" in name or not 0 < share < math.inf:
            raise UsageError(f"--split {text!r} is not like train=0.9,dev=0.05,test=0.05")
        shares[name] = share
    return shares


def prepare(
    source: Path,
    out: Path,
    *,
    split: str = "train=0.9,dev=0.05,test=0.05",
    mixtures: int = 200,
    sources: int = 2,
    sample_rate: int = 8000,
    difference_db: float = 5.0,
    minimum_seconds: float = 1.0,
    seed: int = 0,
    jobs: int = 1,
) -> base.PreparedRows:
    """Build the manifests of a folder of speech: for each split its utterances, and fixed mixtures of them.

    Args:
        source: the tree of speakers.
        out: where the manifests will lie.
        split: name and share of each split.
        mixtures: fixed mixtures per split, except of training, which is mixed anew every epoch.
        sources: voices in a mixture.
        sample_rate: Hz of the mixtures.
        difference_db: largest level difference of a further voice from the first.
        minimum_seconds: shorter files are left out.
        seed: another seed assigns and pairs the speakers differently.
        jobs: processes that read headers and levels.
    """
    if not math.isfinite(difference_db) or seed < 0:
        raise UsageError(f"--difference-db is {difference_db:g} and --seed {seed}; both are numbers from 0 on")
    shares = parse_split(split)
    rows, left_out, damaged = utterances(source, out, shares, minimum_seconds=minimum_seconds, seed=seed, jobs=jobs)
    parts: list[base.ManifestPart] = []
    for name in shares:
        speech = [replace(row, root=out.resolve()) for row in rows if row.split == name]
        if not speech:
            reason = f" ({(damaged + left_out)[0]})" if damaged or left_out else ""
            raise SeptoolError(f"split {name} got no speakers; give it a larger share or drop it{reason}")
        parts.append(base.ManifestPart(f"{name}-speech", name, speech, "speech"))
        count = 0 if name == "train" else mixtures
        fixed, silent = sample_fixed_mixtures(
            speech, count, sources=sources, sample_rate=sample_rate, difference_db=difference_db, seed=seed, jobs=jobs
        )
        left_out += silent
        if fixed:
            parts.append(base.ManifestPart(f"{name}-{sources}mix", name, fixed))
    return base.PreparedRows(parts, left_out, damaged=damaged)


def sample_fixed_mixtures(
    speech: list[Mixture],
    count: int,
    *,
    sources: int,
    sample_rate: int,
    difference_db: float,
    seed: int,
    jobs: int,
) -> tuple[list[Mixture], list[str]]:
    """Draw fixed mixtures of different speakers from utterances, their levels made equal first.

    The further voices stand up to ``difference_db`` above or below the first, which is brought to
    -25 dB. The result depends on the rows and the seed alone. An utterance that turns out to have no
    speech in it is never used.

    Returns:
        The mixtures, and a line for each utterance that could not be used.
    """
    if not count or not speech:
        return [], []
    levels: dict[int, float] = {}
    usable = range(len(speech))
    while True:
        drawn = _draw(speech, usable, count, sources=sources, difference_db=difference_db, seed=seed)
        needed = sorted({pick for picks, _ in drawn for pick in picks} - levels.keys())
        levels |= zip(needed, workers.each(_level_db, (speech[index] for index in needed), jobs), strict=True)
        if all(levels[index] > EMPTY_DB for index in needed):
            break
        usable = [index for index in usable if levels.get(index, 0.0) > EMPTY_DB]
    silent = [speech[index].sources[0].path for index, level in levels.items() if not level > EMPTY_DB]
    split = speech[0].split
    fixed = [
        Mixture(
            id=f"{split}{number:05d}",
            split=split,
            sample_rate=sample_rate,
            sources=tuple(
                replace(speech[pick].sources[0], gain_db=round(-25.0 + offset - levels[pick], 4))
                for pick, offset in zip(picks, offsets, strict=True)
            ),
        )
        for number, (picks, offsets) in enumerate(drawn)
    ]
    return fixed, [f"{path} is silent or damaged; no fixed mixture uses it" for path in silent]


def _draw(
    speech: list[Mixture], usable: Iterable[int], count: int, *, sources: int, difference_db: float, seed: int
) -> list[tuple[list[int], list[float]]]:
    """Draw (utterances, level differences) of every mixture."""
    random = np.random.default_rng(seed)
    by_speaker: dict[str, list[int]] = {}
    for index in usable:
        by_speaker.setdefault(speech[index].sources[0].speaker, []).append(index)
    names = sorted(by_speaker)
    if len(names) < sources:
        raise SeptoolError(f"{len(names)} speakers are too few for mixtures of {sources}; change --split")
    drawn = []
    for _ in range(count):
        chosen = random.choice(len(names), size=sources, replace=False)
        picks = [int(random.choice(by_speaker[names[index]])) for index in chosen]
        drawn.append((picks, [0.0, *random.uniform(-difference_db, difference_db, sources - 1)]))
    return drawn


def _level_db(row: Mixture) -> float:
    # Without the ".."s, since the manifest's folder need not be there yet.
    source = row.sources[0]
    return base.recording_level_db(Path(os.path.normpath(row.locate(source.path))), source.start, source.frames)


FOLDER = base.Corpus(
    about="any recordings of single speakers",
    licence="yours",
    size="any",
    expects="SPEAKER/.../*.{wav,flac,ogg,opus,mp3}",
    prepare=prepare,
)
