"""Estimates in files, with their references: of a manifest, of two folders, or of one recording."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from septool import audio
from septool.data import manifest
from septool.data.mixing import render_mixture
from septool.errors import AudioError, SeptoolError, UsageError
from septool.scoring.items import ScoringInput
from septool.scoring.jobs import ScoringJob
from septool.scoring.layouts import VoiceFiles, find_voices, is_table, nfc, read_pairs, surplus_voices


@dataclass(frozen=True)
class _Reading:
    """How files are brought to one rate."""

    rate: int
    resample: bool  # else files of another rate are refused

    def read(self, path: Path) -> np.ndarray:
        """Read a file as one channel, ``[time]``."""
        samples, file_rate = audio.read_audio(path, whole=True)
        if file_rate != self.rate and not self.resample:
            raise AudioError(f"{path} is {file_rate} Hz, the others are {self.rate}; --sample-rate brings all to one")
        return audio.resample(audio.to_mono(samples), file_rate, self.rate)

    def read_voices(self, files: VoiceFiles, id: str, count: int) -> list[np.ndarray]:
        """Read the voices 1 to ``count`` of an item, and whatever more there are behind those, ``[time]`` each."""
        there = files.voices.get(id, {})
        for voice in range(1, count + 1):
            if voice not in there:
                raise SeptoolError(f"{files.folder} has no {files.name(id, voice)}")
        return [self.read(path) for path in there.values()]


def estimates_of_manifest(
    rows: list[manifest.Mixture],
    folder: Path,
    limit: int | None = None,
    sample_rate: int | None = None,
    template: str | None = None,
) -> ScoringJob:
    """Read the estimates of every mixture of a manifest from a folder.

    Args:
        rows: the manifest.
        folder: of the estimates, as :func:`septool.scoring.layouts.find_voices` finds them.
        limit: score the first so many rows.
        sample_rate: Hz that everything is brought to; the first row's by default.
        template: of the estimates' names.
    """
    files, rate = find_voices(folder, template), sample_rate or rows[0].sample_rate
    reading = _Reading(rate, sample_rate is not None)
    counts = {nfc(manifest.file_stem(row.id)): len(row.sources) for row in rows}
    chosen = rows[:limit]
    return ScoringJob(
        [row.id for row in chosen],
        rate,
        lambda done: (row for row in chosen if row.id not in done),
        partial(_load_row, files, reading),
        [*surplus_voices(files, counts)],
    )


def _load_row(files: VoiceFiles, reading: _Reading, row: manifest.Mixture) -> ScoringInput:
    try:
        # Resampled, not rendered at another rate: so the files were, and the lengths agree.
        row_rate = row.sample_rate if reading.resample else reading.rate
        mixture, sources = (audio.resample(part, row_rate, reading.rate) for part in render_mixture(row, row_rate)[:2])
        estimates = reading.read_voices(files, nfc(manifest.file_stem(row.id)), len(row.sources))
    except SeptoolError as error:
        return ScoringInput(row.id, error=str(error))
    return ScoringInput(row.id, [*sources], estimates, mixture, texts=[source.text for source in row.sources])


def estimates_in_folders(
    references: Path,
    estimates: Path,
    limit: int | None = None,
    sample_rate: int | None = None,
    template: str | None = None,
    mixture: str | None = None,
) -> ScoringJob:
    """Pair the voices of two folders; a mixture without a file is taken to be the sum of its references.

    Args:
        references: folder of the references, and of the mixtures if they are there.
        estimates: folder of the estimates.
        limit: score the first so many items.
        sample_rate: Hz that everything is brought to; the first reference's by default.
        template: of the estimates' names; those of references too where it fits them. Or a CSV file that pairs them,
            see :func:`septool.scoring.layouts.read_pairs`.
        mixture: of the mixtures' names below ``references``; the usual ones by default.
    """
    if template is not None and is_table(template):
        if mixture is not None:
            raise UsageError(f"--pair {template} names mixtures in a column; leave out --mixture")
        true, found = read_pairs(Path(template), references, estimates)
    else:
        found = find_voices(estimates, template, apart_from=references)
        true = find_voices(references, template, mixture=mixture, apart_from=estimates)
        if not true.voices:
            true = find_voices(references, mixture=mixture, apart_from=estimates)
    if true.rivals:  # improvements over one are not those over the other
        first, second = (path.with_suffix("").as_posix() for path in true.rivals)
        example = true.rivals[1].parent.as_posix()
        raise UsageError(
            f"{references} has {first} and {second}; say which is the mixture, such as --mixture {example}"
        )
    names = list(true.voices)[:limit]
    if not names:
        if template is not None and is_table(template):
            raise UsageError(f"--pair {template} has no rows")
        raise UsageError(f"{references} has no files named like call_s1.wav, call_s2.wav; --pair says how they are")
    rate = sample_rate or _first_rate(next(iter(true.voices[id].values())) for id in names)
    counts = {id: len(voices) for id, voices in true.voices.items()}
    return ScoringJob(
        names,
        rate,
        lambda done: (id for id in names if id not in done),
        partial(_load_pair, true, found, _Reading(rate, sample_rate is not None), mixture_is_named=mixture is not None),
        [*surplus_voices(found, counts)],
    )


def _load_pair(
    true: VoiceFiles, found: VoiceFiles, reading: _Reading, id: str, *, mixture_is_named: bool
) -> ScoringInput:
    try:
        count = len(true.voices[id])
        references = reading.read_voices(true, id, count)
        estimates = reading.read_voices(found, id, count)
        if mixture_is_named and id not in true.mixtures:
            raise SeptoolError(f"{id} has no mixture of the name that --mixture gives")
        if id in true.mixtures:
            mixture = reading.read(true.mixtures[id])
        else:
            shortest = min(map(len, references))
            mixture = np.sum([voice[:shortest] for voice in references], axis=0)
    except SeptoolError as error:
        return ScoringInput(id, error=str(error))
    return ScoringInput(id, references, estimates, mixture)


def pair_files(reference: Path, estimate: Path, sample_rate: int | None = None) -> ScoringJob:
    """Pair two files: one reference and its estimate, without a mixture.

    Loading them raises an :class:`~septool.errors.AudioError` where one cannot be read, as there is no other item.
    """
    rate = sample_rate or audio.audio_info(reference).rate
    load = partial(_load_files, reference, estimate, _Reading(rate, sample_rate is not None))
    return ScoringJob([estimate.stem], rate, lambda _: iter([estimate.stem]), load)


def _load_files(reference: Path, estimate: Path, reading: _Reading, id: str) -> ScoringInput:
    return ScoringInput(id, [reading.read(reference)], [reading.read(estimate)])


def _first_rate(paths: Iterable[Path]) -> int:
    error: AudioError | None = None
    for path in paths:
        try:
            return audio.audio_info(path).rate
        except AudioError as reason:
            error = error or reason
    assert error is not None
    raise error
