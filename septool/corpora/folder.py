"""Any folder of speech with one sub-folder per speaker: ``speaker/.../utterance.flac|wav|opus|mp3``.

The first folder level names the speaker; what lies deeper is free. Speakers are dealt to the splits
by name alone, so the same tree gives the same manifests on every machine.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path, PurePath

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
