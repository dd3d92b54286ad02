"""Any folder of speech with one sub-folder per speaker: ``speaker/.../utterance.flac|wav|opus|mp3``.

The first folder level names the speaker; what lies deeper is free. Speakers are dealt to the splits
by name alone, so the same tree gives the same manifests on every machine.
"""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np

from septool import audio
from septool.errors import AudioError, SeptoolError
from septool.manifest import Mixture, Source


def find(folder: Path) -> dict[str, list[Path]]:
    """Return the audio files of every speaker, both sorted.

    Raises:
        SeptoolError: no folder, or no audio in sub-folders of it.
    """
    if not folder.is_dir():
        raise SeptoolError(f"{folder} is not a directory; give the folder that holds one folder per speaker")
    speakers: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if len(place.parts) > 1 and path.suffix.lower() in audio.SUFFIXES and path.is_file():
            speakers.setdefault(place.parts[0], []).append(path)
    if not speakers:
        raise SeptoolError(f"{folder} has no audio files in sub-folders; expected speaker/.../utterance.flac")
    return speakers


def deal(speakers: list[str], shares: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """Deal speakers to splits: ``{speaker: split}``, the shares met as closely as whole speakers allow."""
    ranked = sorted(speakers, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
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
    folder: Path, manifest_folder: Path, shares: Mapping[str, float], *, minimum_seconds: float, seed: int
) -> tuple[list[Mixture], list[str]]:
    """Return one row per utterance, and a line for each file that was left out and why.

    Args:
        folder: the tree of speakers.
        manifest_folder: where the manifest will lie; paths are relative to it.
        shares: part of the speakers that each split gets.
        minimum_seconds: shorter files are left out.
        seed: another seed deals the speakers differently.
    """
    found = find(folder)
    splits = deal(list(found), shares, seed)
    rows: list[Mixture] = []
    left_out: list[str] = []
    for speaker, paths in found.items():
        for path in paths:
            try:
                about = audio.info(path)
            except AudioError as error:
                left_out.append(str(error))
                continue
            if about.frames < minimum_seconds * about.rate:
                left_out.append(f"{path} is shorter than {minimum_seconds:g} s")
                continue
            relative = PurePath(os.path.relpath(path, manifest_folder)).as_posix()
            source = Source(path=relative, frames=about.frames, speaker=speaker)
            name = path.relative_to(folder).with_suffix("").as_posix()
            rows.append(Mixture(id=name, split=splits[speaker], sample_rate=about.rate, sources=(source,)))
    return rows, left_out


def prepare(
    source: Path,
    out: Path,
    *,
    split: Mapping[str, float],
    mixtures: int,
    sources: int,
    sample_rate: int,
    difference_db: float,
    minimum_seconds: float,
    seed: int,
    jobs: int,
) -> dict[str, tuple[list[Mixture], list[Mixture]] | list[str]]:
    """Build the manifests of a folder of speech.

    Args:
        source: the tree of speakers.
        out: where the manifests will lie.
        split: name and share of each split.
        mixtures: fixed mixtures per split, except ``train``, which is mixed anew every epoch.
        sources: voices in a mixture.
        sample_rate: Hz of the mixtures.
        difference_db: largest level difference of a further voice from the first.
        minimum_seconds: shorter files are left out.
        seed: another seed deals and pairs differently.
        jobs: processes that read levels.

    Returns:
        For each split its utterances and its mixtures, and under "left out" a line per file.
    """
    rows, left_out = utterances(source, out, split, minimum_seconds=minimum_seconds, seed=seed)
    result: dict[str, tuple[list[Mixture], list[Mixture]] | list[str]] = {"left out": left_out}
    for name in split:
        speech = [replace(row, root=out.resolve()) for row in rows if row.split == name]
        count = 0 if name == "train" else mixtures
        fixed = pair(
            speech, count, sources=sources, sample_rate=sample_rate, difference_db=difference_db, seed=seed, jobs=jobs
        )
        result[name] = (speech, fixed)
    return result


def pair(
    speech: list[Mixture],
    count: int,
    *,
    sources: int,
    sample_rate: int,
    difference_db: float,
    seed: int,
    jobs: int,
) -> list[Mixture]:
    """Draw fixed mixtures of different speakers from utterances, their levels made equal first.

    The further voices stand up to ``difference_db`` above or below the first, which is brought to
    -25 dB. The result depends on the rows and the seed alone.
    """
    if not count:
        return []
    random = np.random.default_rng(seed)
    by_speaker: dict[str, list[int]] = {}
    for index, row in enumerate(speech):
        by_speaker.setdefault(row.sources[0].speaker, []).append(index)
    names = sorted(by_speaker)
    if len(names) < sources:
        raise SeptoolError(f"{len(names)} speakers are too few for mixtures of {sources}; change --split")
    drawn = []
    for _ in range(count):
        chosen = random.choice(len(names), size=sources, replace=False)
        picks = [int(random.choice(by_speaker[names[index]])) for index in chosen]
        drawn.append((picks, [0.0, *random.uniform(-difference_db, difference_db, sources - 1)]))
    needed = sorted({pick for picks, _ in drawn for pick in picks})
    with ProcessPoolExecutor(jobs) as workers:
        levels = dict(zip(needed, workers.map(_level_db, (speech[i] for i in needed), chunksize=16), strict=True))
    split = speech[0].split
    return [
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


def _level_db(row: Mixture) -> float:
    samples, _ = audio.read(row.locate(row.sources[0].path))
    power = float(np.mean(np.square(audio.mono(samples), dtype=np.float64)))
    return 10 * float(np.log10(max(power, 1e-10)))
