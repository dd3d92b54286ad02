"""Scoring: a model on a manifest or a list of trials, or estimates that are on disk against their references."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from septool import audio, checkpoints, manifest, trials, workers
from septool.errors import AudioError, SeptoolError, UsageError
from septool.inference import choose_device, enough_memory, feed, find
from septool.metrics.eer import EER
from septool.metrics.si_snr import si_snr
from septool.mixing import Rendered, render
from septool.models.base import Extractor, Model, Separator
from septool.models.speaker_net import SpeakerNet
from septool.tasks.extract import embed, reference_of
from septool.tasks.scores import (
    Item,
    Pair,
    Summary,
    parse_metrics,
    read_items,
    score_item,
    summarise,
    summarise_found,
    writing,
)
from septool.tasks.verify import embed as embed_whole


class Work(NamedTuple):
    """What there is to score."""

    ids: list[str]  # of the items, in order
    rate: int
    pairs: Callable[[Container[str]], Iterator[Pair]]  # all but those with the ids given


def estimates_of_model(rows: list[manifest.Mixture], model: str, device: str) -> Work:
    """Separate every mixture of a manifest, or extract its enrolled voice, at the model's rate."""
    _, path = checkpoints.resolve(model)
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

    def pairs(done: Container[str]) -> Iterator[Pair]:
        for row in rows:
            if row.id in done:
                continue
            try:
                with torch.inference_mode(), enough_memory("for a whole mixture at once"):
                    pair = work(row)
                yield pair
            except SeptoolError as error:
                yield Pair(row.id, error=str(error))

    return Work([row.id for row in rows], header.sample_rate, pairs)


def separated(network: Separator, rate: int, device: torch.device, row: manifest.Mixture) -> Pair:
    """Separate a row's mixture."""
    if len(row.sources) != network.sources:
        raise SeptoolError(f"{len(row.sources)} sources, the model gives {network.sources}")
    rendered = render(row, rate)
    mixture = torch.from_numpy(rendered.mixture).to(device)[None]
    return Pair(row.id, rendered, feed(network, mixture)[0].float().cpu().numpy())


def extracted(
    network: Extractor, rate: int, device: torch.device, rows: Sequence[manifest.Mixture], row: manifest.Mixture
) -> Pair:
    """Extract a row's enrolled voice, and see what the model makes of an enrolment of somebody else.

    The stranger is who is enrolled in the next row of the manifest whose voice is not in this mixture.
    """
    reference = reference_of(row, rate)
    assert row.enrolment is not None
    rendered, target = render(row, rate), row.enrolment.target
    mixture = torch.from_numpy(rendered.mixture).to(device)[None]
    voice, presence = find(network, mixture, embed(network, [reference], device))
    sources = torch.from_numpy(rendered.sources).to(device)
    nearest = si_snr(estimate=voice.float(), reference=sources).nan_to_num(nan=-torch.inf).argmax()
    found = {"right-voice": 100.0 * (nearest.item() == target), "presence": presence.item()}
    place = rows.index(row)
    for stranger in (*rows[place + 1 :], *rows[:place]):
        if is_absent(stranger, row):
            with suppress(AudioError):  # said of its own row
                known = embed(network, [reference_of(stranger, rate)], device)
                found["absence"] = find(network, mixture, known).presence.item()
                break
    alone = rendered._replace(sources=rendered.sources[target][None])
    return Pair(row.id, alone, voice.float().cpu().numpy(), found=found)


def is_absent(other: manifest.Mixture, row: manifest.Mixture) -> bool:
    """Say whether the speaker enrolled in one row is not in the mixture of another."""
    return other.enrolment is not None and other.enrolment.speaker not in {source.speaker for source in row.sources}


def scores_of_trials(path: Path, model: str, device: str, limit: int | None) -> Work:
    """Compare the recordings of a list of trials by a speaker network: the cosine of their embeddings."""
    listed = [(f"{trial.first} {trial.second}", trial) for trial in trials.read(path)[:limit]]
    network, header = checkpoints.load(checkpoints.resolve(model)[1], SpeakerNet)
    where = choose_device(device)
    network.to(where)

    @cache
    @torch.inference_mode()
    def embedding(recording: Path) -> torch.Tensor:
        with enough_memory("for a whole recording at once"):
            return embed_whole(network.embedding, recording, header.sample_rate, where)

    def pairs(done: Container[str]) -> Iterator[Pair]:
        for id, trial in dict(listed).items():
            if id in done:
                continue
            try:
                cosine = float(embedding(trial.first) @ embedding(trial.second))
                yield Pair(id, found={"same" if trial.same else "different": cosine})
            except SeptoolError as error:
                yield Pair(id, error=str(error))

    return Work([id for id, _ in listed], header.sample_rate, pairs)


def estimates_on_disk(rows: list[manifest.Mixture], folder: Path, sample_rate: int | None = None) -> Work:
    """Read the estimates ``{id}_s1``, ``{id}_s2``, ... of every mixture of a manifest."""
    files, rate = _by_name(folder), sample_rate or rows[0].sample_rate

    def pairs(_: Container[str]) -> Iterator[Pair]:
        for row in rows:
            try:
                # Resampled, not rendered at another rate: so the files were, and the lengths agree.
                own = row.sample_rate if sample_rate else rate
                mixture, sources = (audio.resample(part, own, rate) for part in render(row, own)[:2])
                voices = _voices(files, row.id, len(row.sources), folder, rate, resample=sample_rate is not None)
                yield Pair(row.id, Rendered(mixture, sources), voices)
            except SeptoolError as error:
                yield Pair(row.id, error=str(error))

    return Work([row.id for row in rows], rate, pairs)


MOST_VOICES = 9  # of a mixture, that a file is looked for


def estimates_in_folders(
    references: Path, estimates: Path, limit: int | None = None, sample_rate: int | None = None
) -> Work:
    """Pair two folders with files ``{id}_s1``, ``{id}_s2``, ...; ``{id}`` itself is the mixture, if there.

    A mixture without a file is taken to be the sum of its references.
    """
    true, found = _by_name(references), _by_name(estimates)
    names = sorted(name.removesuffix("_s1") for name in true if name.endswith("_s1"))[:limit]
    if not names:
        raise UsageError(f"{references} has no files named like call_s1.wav, call_s2.wav")
    rate = sample_rate or _first_rate(true[f"{name}_s1"] for name in names)
    resample = sample_rate is not None

    def pairs(_: Container[str]) -> Iterator[Pair]:
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
                yield Pair(name, Rendered(mixture, sources), voices)
            except SeptoolError as error:
                yield Pair(name, error=str(error))

    return Work(names, rate, pairs)


def _by_name(folder: Path) -> dict[str, Path]:
    """Audio files by their place in the folder without suffix, ``/`` made ``_`` as in the names that mix gives."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    files: dict[str, Path] = {}
    for path in audio.find(folder):
        name = manifest.file_stem(path.relative_to(folder).with_suffix("").as_posix())
        if name in files:
            raise UsageError(f"{files[name]} and {path} go by the same name; remove one")
        files[name] = path
    return files


def _first_rate(paths: Iterable[Path]) -> int:
    error: AudioError | None = None
    for path in paths:
        try:
            return audio.info(path).rate
        except AudioError as reason:
            error = error or reason
    assert error is not None
    raise error


def _read(path: Path, rate: int, *, resample: bool) -> np.ndarray:
    samples, own = audio.read(path)
    if own != rate and not resample:
        raise AudioError(f"{path} is {own} Hz, the others are {rate}; --sample-rate brings all to one")
    return audio.resample(audio.mono(samples), own, rate)


def _voices(files: dict[str, Path], name: str, count: int, folder: Path, rate: int, *, resample: bool) -> np.ndarray:
    stems = [f"{manifest.file_stem(name)}_s{voice + 1}" for voice in range(count)]
    for stem in stems:
        if stem not in files:
            raise SeptoolError(f"{folder} has no {stem}")
    voices = [_read(files[stem], rate, resample=resample) for stem in stems]
    if len({len(voice) for voice in voices}) > 1:
        raise SeptoolError(f"the voices of {name} in {folder} differ in length")
    return np.stack(voices)


def evaluate(
    source: Path,
    estimates: Path | None = None,
    *,
    model: str | None = None,
    metric: str = "si-snri,sdri",
    sample_rate: int | None = None,
    out: Path | None = None,
    device: str = "auto",
    jobs: int = 1,
    limit: int | None = None,
    force: bool = False,
    skip_existing: bool = False,
    report: Callable[[int, int, Item], None] = lambda *_: None,
) -> tuple[list[Item], list[Summary]]:
    """Score a model or estimates.

    Args:
        source: a manifest, a list of trials (``.txt``), or a folder of references ``{id}_s1``, ``{id}_s2``, ...
        estimates: folder of estimates under the same names; None to run ``model``.
        model: the checkpoint to run: a separator on a manifest, an extractor on one with enrolments, or a
            speaker network on trials.
        metric: names, separated by commas.
        sample_rate: Hz that references and ``estimates`` are brought to before they are scored; their own by
            default. A model is scored at its own rate.
        out: file for the items: ``.jsonl``, which grows with every item, or ``.csv``.
        device: where the model runs.
        jobs: processes that score.
        limit: only the first so many mixtures.
        force: replace ``out`` if it is there.
        skip_existing: take over the items that are in ``out`` already, of the same manifest and model.
        report: called with the number done, of how many, and the item.

    Returns:
        The items in the order of their ids, and one summary per metric.

    Raises:
        UsageError: neither or both of ``estimates`` and ``model``, or an unknown metric.
    """
    metrics = parse_metrics(metric)
    if out is not None and out.suffix not in (".jsonl", ".csv"):
        raise UsageError(f"--out {out} has to end in .jsonl or .csv")
    if (estimates is None) == (model is None):
        raise UsageError("give a folder of estimates or --model, one of the two")
    if sample_rate is not None and estimates is None:
        raise UsageError("--sample-rate is for a folder of estimates; a model is scored at its own rate")
    if skip_existing and (out is None or out.suffix != ".jsonl" or model is None):
        raise UsageError("--skip-existing goes on with the items of a --model in --out FILE.jsonl")
    if out is not None and out.exists() and not (force or skip_existing):
        again = " or --skip-existing to go on" if out.suffix == ".jsonl" and model is not None else ""
        raise SeptoolError(f"{out} exists; use --force to replace it{again}")
    if out is not None:
        audio.make_folder(out.parent)  # now, not after hours of scoring
    on_trials = source.suffix == ".txt"
    if on_trials:
        if model is None:
            raise UsageError(f"{source} is a list of trials; give the speaker network with --model")
        metrics = []
        work = scores_of_trials(source, model, device, limit)
    elif source.is_dir():
        if estimates is None:
            raise UsageError(f"{source} is a folder of references; give the folder of estimates, or a manifest")
        work = estimates_in_folders(source, estimates, limit, sample_rate)
    else:
        rows = sorted(manifest.read(source), key=lambda row: row.id)[:limit]
        if model is not None:
            work = estimates_of_model(rows, model, device)
        else:
            assert estimates is not None
            work = estimates_on_disk(rows, estimates, sample_rate)

    of = {} if source.is_dir() else {"manifest_sha256": manifest.digest(source)}
    if model is not None:
        of["model_sha256"] = checkpoints.sha256(checkpoints.resolve(model)[1])
    there = read_items(out, metrics, of) if out and out.exists() and skip_existing and not force else {}
    items, total = {id: there[id] for id in work.ids if id in there}, len(set(work.ids))
    with writing(out, there.values(), metrics) as write:
        for item in workers.each(partial(score_item, metrics, work.rate), work.pairs(items.keys()), jobs):
            items[item.id] = replace(item, of=of)
            write(items[item.id])
            report(len(items), total, items[item.id])
    ordered = [items[id] for id in work.ids]
    found = ("same", "different") if on_trials else ("presence", "absence")
    name = EER.name if on_trials else "presence-eer"
    summaries = summarise(ordered, metrics) + summarise_found(ordered, name, yes=found[0], no=found[1])
    return ordered, [replace(summary, sample_rate=work.rate, **of) for summary in summaries]
