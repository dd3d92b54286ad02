"""Libri2Mix and Libri3Mix (Cosentino et al., 2020): LibriSpeech, and WHAM!'s noise, by the published lists.

The lists of train-100, dev and test come with septool; train-360's are in the LibriMix repository
(``--metadata``). Mixtures have no common speaker across splits and are made without any level but the
lists' gains, so some are clipped at full scale, as in the published set.

Train-360 also names noises at speeds 0.8 and 1.2 (``...sp08.wav``), which its scripts write with SoX. If
they are not there, the original noise is played at that speed: the same up to the resampling filter.
"""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from septool.corpora import base, lists
from septool.data.manifest import Mixture, Source, manifest_path
from septool.data.renderers import RATE
from septool.errors import ManifestError, UsageError
from septool.signal.levels import to_db

SPLITS = {"train-360": "train-clean-360", "train-100": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
BUNDLED = ("train-100", "dev", "test")


@dataclass(frozen=True)
class Recording:
    """A file of the list, by its path below LibriSpeech or WHAM!'s noise, and its gain."""

    path: PurePosixPath
    gain_db: float

    @property
    def speaker(self) -> str:
        """The reader's number."""
        return self.path.parts[1]


@dataclass(frozen=True)
class Line:
    """One mixture of the list."""

    id: str
    voices: tuple[Recording, ...]
    noise: Recording


def prepare(
    voices: int,
    source: Path,
    out: Path,
    *,
    split: str | None = None,
    sample_rate: int = 8000,
    mode: Literal["min", "max"] = "min",
    mix: Literal["clean", "both", "single"] = "clean",
    noise: Path | None = None,
    metadata: Path | None = None,
    jobs: int = 1,
) -> base.PreparedRows:
    """Build the manifests of LibriMix.

    Args:
        voices: speakers in a mixture, 2 or 3.
        source: the LibriSpeech folder, which holds dev-clean and the others.
        out: where the manifests will lie.
        split: some of train-360, train-100, dev, test; all whose lists are at hand by default.
        sample_rate: 8000 or 16000.
        mode: cut to the shortest voice, or pad to the longest.
        mix: clean (voices), both (voices and noise), single (first voice and noise).
        noise: the wham_noise folder, which holds tr, cv and tt.
        metadata: LibriMix's metadata/Libri2Mix (Libri3Mix for three voices), which has the list of train-360.
        jobs: processes that look at files.
    """
    base.check_choice("--sample-rate", sample_rate, (8000, RATE))
    base.require_folder(source, "LibriSpeech's dev-clean, test-clean and so on")
    if mix == "clean":
        noise = None
    elif noise is None:
        raise UsageError(f"--mix {mix} has noise in it; give WHAM!'s with --noise wham_noise")
    else:
        base.require_folder(noise, "WHAM!'s tr, cv and tt")
    texts = base.select_splits(split, _texts(voices, metadata))
    lines = {name: list(parse(text, voices)) for name, text in texts.items()}
    speeds = {line.noise.path: _speed(line.noise, noise) for part in lines.values() for line in part} if noise else {}
    wanted = {source / voice.path for part in lines.values() for line in part for voice in line.voices}
    wanted |= {noise / path for path, _ in speeds.values()} if noise else set()
    found, left_out = base.read_headers(wanted, RATE, jobs)
    sexes = lists.librispeech_sexes() | _sexes(voices, metadata)
    speech_root, noise_root = manifest_path(source, out), noise and manifest_path(noise, out)

    def row(name: str, line: Line) -> Mixture | None:
        headers = [found.get(source / voice.path) for voice in line.voices]
        lengths = [header.frames for header in headers if header]
        if len(lengths) < voices:
            return None
        noise_row = None
        if noise and noise_root:
            path, speed = speeds[line.noise.path]
            if noise / path not in found:
                return None
            # Continued to the longest voice, whichever the mode: the cross-fade depends on it.
            noise_row = Source(
                path=(noise_root / path).as_posix(), frames=max(lengths), gain_db=line.noise.gain_db, speed=speed
            )
        sources = tuple(
            Source(
                path=(speech_root / voice.path).as_posix(),
                frames=frames,
                gain_db=voice.gain_db,
                speaker=voice.speaker,
                gender=sexes.get(voice.speaker),
            )
            for voice, frames in zip(line.voices, lengths, strict=True)
        )
        frames = min(lengths) if mode == "min" else max(lengths)
        return Mixture(
            id=line.id,
            split=name,
            sample_rate=sample_rate,
            mode=mode,
            frames=math.ceil(frames * sample_rate / RATE),
            sources=sources[:1] if mix == "single" else sources,
            noise=noise_row,
            rendering="librimix",
        )

    title = f"libri{voices}mix-{sample_rate // 1000}k-{mode}-{mix}"
    parts = [
        base.ManifestPart.of_list(f"{name}-{title}", name, (row(name, line) for line in part))
        for name, part in lines.items()
    ]
    return base.PreparedRows(parts, left_out)


def _texts(voices: int, metadata: Path | None) -> dict[str, str]:
    """Return the lists at hand; those of ``metadata`` go before the bundled ones."""
    texts = {}
    if metadata and not any(metadata.glob(f"libri{voices}mix_*.csv")):
        raise ManifestError(f"{metadata} has no libri{voices}mix_*.csv; give LibriMix's metadata/Libri{voices}Mix")
    for name, published in SPLITS.items():
        own = metadata and metadata / f"libri{voices}mix_{published}.csv"
        if own and own.is_file():
            texts[name] = _read(own)
        elif name in BUNDLED:
            texts[name] = lists.read_list(f"libri{voices}mix_{published}.csv")
    return texts


def _sexes(voices: int, metadata: Path | None) -> dict[str, str | None]:
    """Return the sexes that ``*_info.csv`` of ``metadata`` tells; speakers are written 19.0 there."""
    sexes: dict[str, str | None] = {}
    for path in sorted(metadata.glob(f"libri{voices}mix_*_info.csv")) if metadata else ():
        for row in csv.DictReader(_read(path).splitlines()):
            for number in range(1, voices + 1):
                sexes[row.get(f"speaker_{number}_ID", "").removesuffix(".0")] = row.get(f"speaker_{number}_sex")
    return sexes


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from None


def parse(text: str, voices: int) -> Iterator[Line]:
    """Read a list; written on Windows it has other separators and means the same."""
    rows = csv.DictReader(text.splitlines())
    columns = [f"source_{number}" for number in range(1, voices + 1)]
    needed = {"mixture_ID", *(f"{name}_{kind}" for name in (*columns, "noise") for kind in ("path", "gain"))}
    if lost := needed - set(rows.fieldnames or ()):
        raise ManifestError(f"the list of Libri{voices}Mix has no column {', '.join(sorted(lost))}")
    for row in rows:
        first, *others = (
            Recording(PurePosixPath(row[f"{name}_path"].replace("\\", "/")), _decibels(row[f"{name}_gain"]))
            for name in ("noise", *columns)
        )
        yield Line(row["mixture_ID"], tuple(others), first)


def _decibels(gain: str) -> float:
    try:
        # Ten digits give back the gain as a float32; more would depend on the machine's logarithm.
        return round(to_db(float(gain)), 10)
    except (TypeError, ValueError):
        raise ManifestError(f"the list has the gain {gain!r}; it has to be a number above 0") from None


def _speed(noise: Recording, folder: Path) -> tuple[PurePosixPath, float]:
    """Return the noise to read, and how fast: itself, or the original of a changed one that is not there."""
    path = noise.path
    changed = re.fullmatch(r"(.*)sp(08|12)", path.stem)
    if not changed or (folder / path).exists():
        return path, 1.0
    return path.with_name(changed[1] + path.suffix), int(changed[2]) / 10


def _corpus(voices: int) -> base.Corpus:
    return base.Corpus(
        about=f"{voices} voices of LibriSpeech, clean or in WHAM!'s noise; published lists",
        licence="CC BY 4.0 (LibriSpeech), CC BY-NC 4.0 (WHAM! noise), MIT (lists)",
        size="test-clean 0.3 GB, dev-clean 0.3 GB, train-clean-100 6 GB, train-clean-360 23 GB; 28,000 noises",
        expects="LibriSpeech/{dev-clean,test-clean,train-clean-100,train-clean-360}/SPEAKER/CHAPTER/*.flac; "
        "--noise wham_noise/{tr,cv,tt}/*.wav; --metadata LibriMix/metadata/"
        f"Libri{voices}Mix for train-360",
        prepare=partial(prepare, voices),
    )


LIBRI2MIX, LIBRI3MIX = _corpus(2), _corpus(3)
