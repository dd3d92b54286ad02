"""Two voices of LibriSpeech (Panayotov et al., 2015), mixed on the fly as Atss-Net and GALR did.

Neither published its mixtures. What the papers say is done here: the same sets of speakers, the same number
of utterances of each, the same levels. Training mixes the utterances anew (its manifest is a pool of speech);
the other splits are fixed, drawn by the seed and the names alone.

``atss-net`` (Li et al., 2020; VoiceFilter's sets): 2338 speakers of the three training subsets; tested on the 73
of dev-clean and dev-other; excerpts of 3 s at equal level, 16 kHz, and another utterance of the first as enrollment.

``galr`` (Lam et al., 2021): 5 utterances of each of 2411 speakers, those of the training and dev subsets; another
3 of each to validate (7233 in all; the paper says 5 of each, which would be 12055); 60 of each of the 73 speakers
of test-clean and test-other, of some all they have. Whole utterances, up to 5 dB apart, 8 kHz. The paper gives the
numbers only; that its training has the dev subsets and not the test subsets is our reading.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from septool import audio
from septool.corpora import base
from septool.corpora.folder import sample_fixed_mixtures
from septool.data.manifest import Enrollment, Mixture, Source, manifest_path
from septool.data.renderers import RATE

RECORDINGS = {
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
    "dev-clean": 2703,
    "dev-other": 2864,
    "test-clean": 2620,
    "test-other": 2939,
}
TRAIN = ("train-clean-100", "train-clean-360", "train-other-500")
DEV, TEST = ("dev-clean", "dev-other"), ("test-clean", "test-other")


@dataclass(frozen=True)
class Split:
    """Subsets of LibriSpeech, and which utterances of each speaker in their random order."""

    subsets: tuple[str, ...]
    utterances: tuple[int, int | None] = (0, None)  # from, to


@dataclass(frozen=True)
class Protocol:
    """What a paper says of its mixtures."""

    splits: Mapping[str, Split]
    sample_rate: int
    seconds: float | None  # length of a voice in a fixed mixture; None takes whole utterances
    difference_db: float


PROTOCOLS = {
    "atss-net": Protocol(
        {"train": Split(TRAIN), "test": Split(DEV)}, sample_rate=16000, seconds=3.0, difference_db=0.0
    ),
    "galr": Protocol(
        {
            "train": Split(TRAIN + DEV, (0, 5)),
            "dev": Split(TRAIN + DEV, (5, 8)),
            "test": Split(TEST, (0, 60)),
        },
        sample_rate=8000,
        seconds=None,
        difference_db=5.0,
    ),
}


def prepare(
    source: Path,
    out: Path,
    *,
    protocol: Literal["atss-net", "galr"] = "atss-net",
    split: str | None = None,
    sample_rate: int | None = None,
    mixtures: int = 3000,
    seed: int = 0,
    jobs: int = 1,
) -> base.PreparedRows:
    """Build the manifests of a protocol.

    Fixed mixtures are drawn only from subsets that are whole, since they would be others without a recording.

    Args:
        source: the LibriSpeech folder, which holds dev-clean and the others.
        out: where the manifests will lie.
        protocol: whose.
        split: some of its splits.
        sample_rate: Hz of the fixed mixtures; the protocol's own by default.
        mixtures: fixed mixtures of each split but train.
        seed: another seed draws differently.
        jobs: processes that look at files.
    """
    base.check_choice("--protocol", protocol, tuple(PROTOCOLS))
    base.require_folder(source, "LibriSpeech's dev-clean, test-clean and so on")
    settings = PROTOCOLS[protocol]
    rate = sample_rate or settings.sample_rate
    picked = base.select_splits(split, settings.splits)
    subsets = sorted({subset for part in picked.values() for subset in part.subsets})
    found, left_out = base.read_headers((path for subset in subsets for path in _paths(source, subset)), RATE, jobs)
    by_subset: dict[str, list[Path]] = {subset: [] for subset in subsets}
    for path in found:
        by_subset[path.relative_to(source).parts[0]].append(path)
    lacking = {subset: RECORDINGS[subset] - len(paths) for subset, paths in by_subset.items()}
    left_out[:0] = [
        f"{source / subset} has {len(by_subset[subset])} of {RECORDINGS[subset]} usable recordings"
        for subset, lack in lacking.items()
        if lack
    ]
    parts = []
    for name, part in picked.items():
        lack = sum(lacking[subset] for subset in part.subsets)
        chosen = _choose((path for subset in part.subsets for path in by_subset[subset]), part.utterances, seed)
        speech = [_row(path, found[path], source, out, name) for path in chosen]
        if name == "train":
            parts.append(
                base.ManifestPart(f"{name}-librispeech-{protocol}-speech", name, speech, "speech", missing=lack)
            )
            continue
        fixed: list[Mixture] = []
        if not lack:
            fixed, silent = _mix(speech, mixtures, settings, rate, seed, jobs)
            left_out += silent
        title = f"{name}-librispeech-2mix-{protocol}-{rate // 1000}k"
        parts.append(base.ManifestPart(title, name, fixed, missing=mixtures - len(fixed)))
    return base.PreparedRows(parts, left_out)


def _paths(source: Path, subset: str) -> list[Path]:
    return sorted((source / subset).glob("*/*/*.flac"))


def _choose(paths: Iterable[Path], chosen_range: tuple[int, int | None], seed: int) -> list[Path]:
    """Put each speaker's utterances in an order of their names' hashes, and take a range of them."""
    by_speaker: dict[str, list[Path]] = {}
    for path in paths:
        by_speaker.setdefault(path.parts[-3], []).append(path)
    chosen = [
        sorted(of_speaker, key=lambda path: _hashed(seed, path.stem))[slice(*chosen_range)]
        for of_speaker in by_speaker.values()
    ]
    return sorted(path for of_speaker in chosen for path in of_speaker)


def _hashed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8])


def _row(path: Path, header: audio.AudioInfo, source: Path, out: Path, split: str) -> Mixture:
    manifest_relative = manifest_path(source, out) / path.relative_to(source)
    voice = Source(path=manifest_relative.as_posix(), frames=header.frames, speaker=path.parts[-3])
    return Mixture(id=path.stem, split=split, sample_rate=header.rate, sources=(voice,), root=out.resolve())


def _mix(
    speech: list[Mixture], count: int, protocol: Protocol, rate: int, seed: int, jobs: int
) -> tuple[list[Mixture], list[str]]:
    """Draw the fixed mixtures of a split, and say which utterances are of no use for it."""
    cut = speech
    if protocol.seconds:
        frames = round(protocol.seconds * RATE)
        cut = [_excerpt(row, frames, seed) for row in speech if row.sources[0].frames >= frames]
    fixed, silent = sample_fixed_mixtures(
        cut, count, sources=2, sample_rate=rate, difference_db=protocol.difference_db, seed=seed, jobs=jobs
    )
    if protocol.seconds:
        by_speaker: dict[str, list[Source]] = {}
        for row in speech:
            by_speaker.setdefault(row.sources[0].speaker, []).append(row.sources[0])
        fixed = [replace(row, enrollment=_enrollment(row, by_speaker)) for row in fixed]
    return fixed, silent


def _excerpt(row: Mixture, frames: int, seed: int) -> Mixture:
    """Cut an utterance at a place that its name decides."""
    voice = row.sources[0]
    start = int(np.random.default_rng([seed, _hashed(seed, row.id)]).integers(voice.frames - frames + 1))
    return replace(row, sources=(replace(voice, start=start, frames=frames),))


def _enrollment(row: Mixture, by_speaker: Mapping[str, list[Source]]) -> Enrollment:
    """Return the target's next utterance."""
    target = row.sources[0]
    own = by_speaker[target.speaker]
    other = base.next_utterance(own, next(source for source in own if source.path == target.path))
    return Enrollment(path=other.path, frames=other.frames, speaker=target.speaker)


LIBRISPEECH_2MIX = base.Corpus(
    about="two voices of LibriSpeech as Atss-Net and GALR mixed them; drawn, there is no published list",
    licence="CC BY 4.0",
    size="atss-net: training subsets 59 GB, dev 0.7 GB; galr: test 0.7 GB besides",
    expects="LibriSpeech/{train-clean-100,train-clean-360,train-other-500,dev-clean,dev-other,test-clean,test-other}/"
    "SPEAKER/CHAPTER/*.flac",
    prepare=prepare,
)
