"""What is scored: estimates of a model on a manifest, scores of trials, or estimates on disk with their references."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from septool import audio, catalogue, checkpoints
from septool.data import manifest, trials
from septool.data.mixing import render_mixture
from septool.data.renderers import Rendered
from septool.device import choose_device, enough_memory
from septool.errors import AudioError, SeptoolError, UsageError
from septool.inference.enrollment import embed_references, read_enrollment
from septool.inference.level import extract_with_score, separate_at_model_level
from septool.metrics.si_snr import si_snr
from septool.models.base import Extractor, Model, Separator
from septool.models.speaker_net import SpeakerNet
from septool.scoring.items import ScoringInput
from septool.scoring.verification import embed_recording


class ScoringJob(NamedTuple):
    """What there is to score."""

    ids: list[str]  # of the items, in order
    rate: int
    pairs: Callable[[Container[str]], Iterator[ScoringInput]]  # all but those with the ids given


def estimates_from_model(rows: list[manifest.Mixture], model: str, device: str) -> ScoringJob:
    """Separate every mixture of a manifest, or extract its enrolled voice, at the model's rate."""
    _, path = catalogue.resolve_checkpoint(model)
    network, header = checkpoints.load(path, Model)
    where = choose_device(device)
    network.to(where)

    match network:
        case Separator():
            work = partial(separated, network, header.sample_rate, where)
        case Extractor():
            work = partial(extracted, network, header.sample_rate, where, rows)
        case _:
            raise UsageError(f"{model} is a speaker network; it is scored on a list of trials (.txt)")

    def pairs(done: Container[str]) -> Iterator[ScoringInput]:
        for row in rows:
            if row.id in done:
                continue
            try:
                with torch.inference_mode(), enough_memory("for a whole mixture at once"):
                    pair = work(row)
                yield pair
            except SeptoolError as error:
                yield ScoringInput(row.id, error=str(error))

    return ScoringJob([row.id for row in rows], header.sample_rate, pairs)


def separated(network: Separator, rate: int, device: torch.device, row: manifest.Mixture) -> ScoringInput:
    """Separate a row's mixture."""
    if len(row.sources) != network.sources:
        raise SeptoolError(f"{len(row.sources)} sources, the model gives {network.sources}")
    rendered = render_mixture(row, rate)
    mixture = torch.from_numpy(rendered.mixture).to(device)[None]
    return ScoringInput(row.id, rendered, separate_at_model_level(network, mixture)[0].float().cpu().numpy())


def extracted(
    network: Extractor, rate: int, device: torch.device, rows: Sequence[manifest.Mixture], row: manifest.Mixture
) -> ScoringInput:
    """Extract a row's enrolled voice, and see what the model makes of an enrolment of somebody else.

    The stranger is who is enrolled in the next row of the manifest whose voice is not in this mixture.
    """
    reference = read_enrollment(row, rate)
    assert row.enrolment is not None
    rendered, target = render_mixture(row, rate), row.enrolment.target
    mixture = torch.from_numpy(rendered.mixture).to(device)[None]
    voice, presence = extract_with_score(network, mixture, embed_references(network, [reference], device))
    sources = torch.from_numpy(rendered.sources).to(device)
    nearest = si_snr(estimate=voice.float(), reference=sources).nan_to_num(nan=-torch.inf).argmax()
    found = {"right-voice": 100.0 * (nearest.item() == target), "presence": presence.item()}
    place = rows.index(row)
    for stranger in (*rows[place + 1 :], *rows[:place]):
        if is_absent(stranger, row):
            with suppress(AudioError):  # said of its own row
                known = embed_references(network, [read_enrollment(stranger, rate)], device)
                found["absence"] = extract_with_score(network, mixture, known).presence.item()
                break
    alone = rendered._replace(sources=rendered.sources[target][None])
    return ScoringInput(row.id, alone, voice.float().cpu().numpy(), found=found)


def is_absent(other: manifest.Mixture, row: manifest.Mixture) -> bool:
    """Say whether the speaker enrolled in one row is not in the mixture of another."""
    return other.enrolment is not None and other.enrolment.speaker not in {source.speaker for source in row.sources}


def trial_scores(path: Path, model: str, device: str, limit: int | None) -> ScoringJob:
    """Compare the recordings of a list of trials by a speaker network: the cosine of their embeddings."""
    listed = [(f"{trial.first} {trial.second}", trial) for trial in trials.read_trials(path)[:limit]]
    network, header = checkpoints.load(catalogue.resolve_checkpoint(model)[1], SpeakerNet)
    where = choose_device(device)
    network.to(where)

    @cache
    @torch.inference_mode()
    def embedding(recording: Path) -> torch.Tensor:
        with enough_memory("for a whole recording at once"):
            return embed_recording(network.embedding, recording, header.sample_rate, where)

    def pairs(done: Container[str]) -> Iterator[ScoringInput]:
        for id, trial in dict(listed).items():
            if id in done:
                continue
            try:
                cosine = float(embedding(trial.first) @ embedding(trial.second))
                yield ScoringInput(id, found={"same" if trial.same else "different": cosine})
            except SeptoolError as error:
                yield ScoringInput(id, error=str(error))

    return ScoringJob([id for id, _ in listed], header.sample_rate, pairs)


def estimates_on_disk(rows: list[manifest.Mixture], folder: Path, sample_rate: int | None = None) -> ScoringJob:
    """Read the estimates ``{id}_s1``, ``{id}_s2``, ... of every mixture of a manifest."""
    files, rate = _by_name(folder), sample_rate or rows[0].sample_rate

    def pairs(_: Container[str]) -> Iterator[ScoringInput]:
        for row in rows:
            try:
                # Resampled, not rendered at another rate: so the files were, and the lengths agree.
                own = row.sample_rate if sample_rate else rate
                mixture, sources = (audio.resample(part, own, rate) for part in render_mixture(row, own)[:2])
                voices = _voices(files, row.id, len(row.sources), folder, rate, resample=sample_rate is not None)
                yield ScoringInput(row.id, Rendered(mixture, sources), voices)
            except SeptoolError as error:
                yield ScoringInput(row.id, error=str(error))

    return ScoringJob([row.id for row in rows], rate, pairs)


MOST_VOICES = 9  # of a mixture, that a file is looked for


def estimates_in_folders(
    references: Path, estimates: Path, limit: int | None = None, sample_rate: int | None = None
) -> ScoringJob:
    """ScoringInput two folders with files ``{id}_s1``, ``{id}_s2``, ...; ``{id}`` itself is the mixture, if there.

    A mixture without a file is taken to be the sum of its references.
    """
    true, found = _by_name(references), _by_name(estimates)
    names = sorted(name.removesuffix("_s1") for name in true if name.endswith("_s1"))[:limit]
    if not names:
        raise UsageError(f"{references} has no files named like call_s1.wav, call_s2.wav")
    rate = sample_rate or _first_rate(true[f"{name}_s1"] for name in names)
    resample = sample_rate is not None

    def pairs(_: Container[str]) -> Iterator[ScoringInput]:
        for name in names:
            count = 1
            while f"{name}_s{count + 1}" in true:
                count += 1
            try:
                sources = _voices(true, name, count, references, rate, resample=resample)
                mixture = _read(true[name], rate, resample=resample) if name in true else sources.sum(0)
                for folder, files in ((estimates, found), (references, true)):
                    further = [each for each in range(count + 1, MOST_VOICES + 1) if f"{name}_s{each}" in files]
                    if further:
                        raise SeptoolError(f"{folder} has {name}_s{further[0]}; there are {count} references in a row")
                voices = _voices(found, name, count, estimates, rate, resample=resample)
                yield ScoringInput(name, Rendered(mixture, sources), voices)
            except SeptoolError as error:
                yield ScoringInput(name, error=str(error))

    return ScoringJob(names, rate, pairs)


def _by_name(folder: Path) -> dict[str, Path]:
    """Audio files by their place in the folder without suffix, ``/`` made ``_`` as in the names that mix gives."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    files: dict[str, Path] = {}
    for path in audio.find_audio_files(folder).files:
        name = manifest.file_stem(path.relative_to(folder).with_suffix("").as_posix())
        if name in files:
            raise UsageError(f"{files[name]} and {path} go by the same name; remove one")
        files[name] = path
    return files


def _first_rate(paths: Iterable[Path]) -> int:
    error: AudioError | None = None
    for path in paths:
        try:
            return audio.audio_info(path).rate
        except AudioError as reason:
            error = error or reason
    assert error is not None
    raise error


def _read(path: Path, rate: int, *, resample: bool) -> np.ndarray:
    samples, own = audio.read_audio(path)
    if own != rate and not resample:
        raise AudioError(f"{path} is {own} Hz, the others are {rate}; --sample-rate brings all to one")
    return audio.resample(audio.to_mono(samples), own, rate)


def _voices(files: dict[str, Path], name: str, count: int, folder: Path, rate: int, *, resample: bool) -> np.ndarray:
    stems = [f"{manifest.file_stem(name)}_s{voice + 1}" for voice in range(count)]
    for stem in stems:
        if stem not in files:
            raise SeptoolError(f"{folder} has no {stem}")
    voices = [_read(files[stem], rate, resample=resample) for stem in stems]
    if len({len(voice) for voice in voices}) > 1:
        raise SeptoolError(f"the voices of {name} in {folder} differ in length")
    return np.stack(voices)
