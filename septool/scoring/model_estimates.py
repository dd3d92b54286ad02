"""Estimates that a model makes: of a manifest's mixtures, and of trials."""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path

import torch

from septool import catalogue, checkpoints
from septool.cluster import worker_number
from septool.data import manifest, trials
from septool.data.mixing import render_mixture
from septool.device import choose_device, enough_memory
from septool.errors import AudioError, SeptoolError, UsageError
from septool.inference.cascade import load_extractor
from septool.inference.dtype import check_dtype, torch_dtype
from septool.inference.engines import TorchSeparator
from septool.inference.enrollment import KnownVoicesEstimator, embed_references, read_enrollment
from septool.inference.level import check_finite_estimate
from septool.metrics.si_snr import si_snr
from septool.models.base import Extractor, Model, Separator, SpeakerEncoder
from septool.scoring.items import ScoringInput
from septool.scoring.jobs import ScoringJob
from septool.scoring.verification import embed_recording


def estimates_from_model(
    rows: list[manifest.Mixture],
    model: str,
    device: str,
    limit: int | None = None,
    *,
    on_workers: bool = False,
    passes: int | None = None,
    consistency: bool = False,
    dtype: str = "fp32",
    extract: bool = False,
    speaker_model: str | None = None,
) -> ScoringJob:
    """Separate every mixture of a manifest, or extract its enrolled voice, at the model's rate.

    Args:
        rows: the manifest.
        model: the checkpoint.
        device: where it runs.
        limit: only the first so many rows; enrollments of absent speakers are still those of the whole manifest.
        on_workers: separate where the scores are computed, on the workers of a cluster, each on a device of its own.
        passes: over each mixture, whose voices are averaged; as the checkpoint says by default.
        consistency: makes the voices of a separator add up to the mixture.
        dtype: what the model computes in: ``fp32``, ``bf16`` or, on a GPU, ``fp16``.
        extract: the enrolled voice alone, by a separator too.
        speaker_model: what chooses from its outputs then; see :func:`septool.inference.cascade.load_extractor`.
    """
    _, path = catalogue.resolve_checkpoint(model)
    network, header = load_extractor(path, speaker_model) if extract else checkpoints.load(path, Model)

    estimate: Callable[[torch.device, manifest.Mixture], ScoringInput]
    here = None if on_workers else choose_device(device)
    check_dtype(dtype, here)
    match network:
        case Separator():
            separator = TorchSeparator(network, header)
            estimate = partial(separate_row, separator, passes=passes, consistency=consistency, dtype=dtype)
        case Extractor() if consistency:
            raise UsageError("--consistency is for all voices of a mixture; an extractor gives one")
        case Extractor():
            places = {row.id: index for index, row in enumerate(rows)}
            averaged = header.choose_passes(passes)
            estimate = partial(
                extract_row, network, header.sample_rate, rows=rows, places=places, passes=averaged, dtype=dtype
            )
        case _:
            raise UsageError(f"{model} is a speaker network; it is scored on a list of trials (.txt)")

    warnings = []
    chosen = rows[:limit]
    if isinstance(network, Separator):
        fewer = sum(len(row.sources) < network.sources for row in chosen)
        if fewer:
            warnings.append(
                f"{fewer} of {len(chosen)} mixtures have fewer sources than the model gives ({network.sources}); "
                "the best of its outputs are scored"
            )

    ids = [row.id for row in chosen]
    if here is None:
        load = partial(_estimate_on_worker, network, device, estimate)
        return ScoringJob(ids, header.sample_rate, lambda done: _missing(chosen, done), load, warnings)
    network.to(here)
    return ScoringJob(
        ids,
        header.sample_rate,
        lambda done: (_estimate_row(estimate, here, row) for row in _missing(chosen, done)),
        warnings=warnings,
    )


def _missing(rows: Iterable[manifest.Mixture], done: Container[str]) -> Iterator[manifest.Mixture]:
    return (row for row in rows if row.id not in done)


def _estimate_row(
    estimate: Callable[[torch.device, manifest.Mixture], ScoringInput], device: torch.device, row: manifest.Mixture
) -> ScoringInput:
    try:
        with torch.inference_mode(), enough_memory("for a whole mixture at once"):
            return estimate(device, row)
    except SeptoolError as error:
        return ScoringInput(row.id, error=str(error))


def _estimate_on_worker(
    network: Model,
    device: str,
    estimate: Callable[[torch.device, manifest.Mixture], ScoringInput],
    row: manifest.Mixture,
) -> ScoringInput:
    try:
        here = choose_device(device, worker_number())
    except UsageError as error:  # this machine has none such
        return ScoringInput(row.id, error=str(error))
    network.to(here)
    return _estimate_row(estimate, here, row)


def separate_row(
    separator: TorchSeparator,
    device: torch.device,
    row: manifest.Mixture,
    *,
    passes: int | None = None,
    consistency: bool = False,
    dtype: str = "fp32",
) -> ScoringInput:
    """Separate a row's mixture at the model's rate; it may have fewer sources than the model gives outputs.

    By the estimator of ``septool separate``, but for the whole mixture at once. The voices get the levels that they
    have in the mixture: those of the network are its own. As in papers, they add up to it only if ``consistency`` asks
    for that. The other arguments are those of :func:`estimates_from_model`.
    """
    if len(row.sources) > separator.header.sources:
        raise SeptoolError(f"{len(row.sources)} sources, the model gives {separator.header.sources}")
    rendered = render_mixture(row, separator.header.sample_rate)
    estimate = separator.estimator(device, consistency=consistency, dtype=torch_dtype(dtype), passes=passes)
    voices = estimate(rendered.mixture[None])[0]
    return ScoringInput(
        row.id,
        [*rendered.sources],
        [*voices],
        rendered.mixture,
        texts=[source.text for source in row.sources],
    )


def extract_row(
    network: Extractor,
    rate: int,
    device: torch.device,
    row: manifest.Mixture,
    *,
    rows: Sequence[manifest.Mixture],
    places: Mapping[str, int],
    passes: int,
    dtype: str = "fp32",
) -> ScoringInput:
    """Extract a row's enrolled voice, and score the model's presence for an enrollment of another speaker.

    The other speaker is who is enrolled in the next row of the manifest whose voice is not in this mixture.

    Args:
        network: the extractor.
        rate: Hz to render at.
        device: where the model is.
        row: the row.
        rows: the manifest.
        places: where in it each row is, by its id.
        passes: whose voices are averaged.
        dtype: what the model computes in; speaker networks compute in float32.
    """
    reference = read_enrollment(row, rate)
    assert row.enrollment is not None
    rendered, target = render_mixture(row, rate), row.enrollment.target
    mixture = torch.from_numpy(rendered.mixture).to(device)[None]
    asked = [reference]
    for other in islice(manifest.iter_from(rows, places[row.id]), 1, None):
        if is_absent(other, row):
            with suppress(AudioError):  # its own row reports it
                asked.append(read_enrollment(other, rate))
                break
    embeddings = torch.cat([embed_references(network.speaker, [reference], rate, device) for reference in asked])
    estimate = KnownVoicesEstimator(network, embeddings, None, torch_dtype(dtype), passes)
    voice = estimate(mixture)[0, 0]
    check_finite_estimate(voice)  # NaN is nobody's voice
    sources = torch.from_numpy(rendered.sources).to(device)
    nearest = si_snr(estimate=voice[None], reference=sources).nan_to_num(nan=-torch.inf).argmax()
    detections = {"right-voice": 100.0 * (nearest.item() == target)}
    detections |= zip(("presence", "absence"), *estimate.presence(), strict=False)
    return ScoringInput(
        row.id,
        [rendered.sources[target]],
        [voice.cpu().numpy()],
        rendered.mixture,
        texts=[row.sources[target].text],
        detections=detections,
    )


def is_absent(other: manifest.Mixture, row: manifest.Mixture) -> bool:
    """Return whether the speaker enrolled in one row is not in the mixture of another."""
    return other.enrollment is not None and other.enrollment.speaker not in {source.speaker for source in row.sources}


def trial_scores(path: Path, model: str, device: str, limit: int | None) -> ScoringJob:
    """Compare the recordings of a list of trials by a speaker network: the cosine of their embeddings."""
    listed = [(f"{trial.first} {trial.second}", trial) for trial in trials.read_trials(path)[:limit]]
    network, header = checkpoints.load(catalogue.resolve_checkpoint(model)[1], SpeakerEncoder)
    torch_device = choose_device(device)
    network.to(torch_device)

    @cache
    @torch.inference_mode()
    def embedding(recording: Path) -> torch.Tensor:
        with enough_memory("for a whole recording at once"):
            return embed_recording(network.embedding, recording, header.sample_rate, torch_device)

    def tasks(done: Container[str]) -> Iterator[ScoringInput]:
        for id, trial in dict(listed).items():
            if id in done:
                continue
            try:
                cosine = float(embedding(trial.first) @ embedding(trial.second))
                if not math.isfinite(cosine):
                    raise SeptoolError(f"{model} gives no finite embedding; are its weights damaged?")
                yield ScoringInput(id, detections={"same" if trial.same else "different": cosine})
            except SeptoolError as error:
                yield ScoringInput(id, error=str(error))

    return ScoringJob([id for id, _ in listed], header.sample_rate, tasks)
