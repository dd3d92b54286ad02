"""Scoring: a model on a manifest, or estimates that are on disk already against their references."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from septool import audio, checkpoints, manifest, workers
from septool.errors import AudioError, SeptoolError, UsageError
from septool.inference import choose_device, enough_memory, feed
from septool.losses.pit import best_permutation
from septool.metrics import FUNCTIONS, METRICS, UndefinedError
from septool.metrics.si_snr import si_snr
from septool.mixing import Rendered, render
from septool.registry import suggest


class Pair(NamedTuple):
    """A mixture and its estimates, or why there are none."""

    id: str
    mixture: Rendered | None = None
    estimate: np.ndarray | None = None  # [source, time]
    error: str = ""


@dataclass(frozen=True)
class Item:
    """What one mixture scored: for each metric a value per reference, or why there is none."""

    id: str
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    reasons: dict[str, list[str | None]] = field(default_factory=dict)  # where a score is None
    order: tuple[int, ...] = ()  # estimate of each reference
    error: str = ""  # the whole item failed

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON; empty parts are left out."""
        if self.error:
            return {"id": self.id, "error": self.error}
        why = {metric: reasons for metric, reasons in self.reasons.items() if any(reasons)}
        return {"id": self.id, "order": list(self.order), **self.scores} | ({"undefined": why} if why else {})


@dataclass(frozen=True)
class Summary:
    """One metric over all items; every reference of an item counts."""

    metric: str
    unit: str
    mean: float
    low: float  # 95 % confidence interval of the mean, by bootstrap over items
    high: float
    median: float
    fifth: float  # 5th percentile
    count: int
    undefined: int  # references where the metric has no value
    failed: int  # items that could not be scored at all


def parse_metrics(names: str | Sequence[str]) -> list[str]:
    """Split and check a list of metrics such as ``si-snri,sdri,pesq``."""
    parts = names.split(",") if isinstance(names, str) else list(names)
    chosen = [part.strip().lower() for part in parts if part.strip()]
    for name in chosen:
        if name not in METRICS:
            raise suggest("metric", name, METRICS)
    if not chosen:
        raise UsageError(f"no metric was named; choose from {', '.join(METRICS)}")
    return list(dict.fromkeys(chosen))


def score_item(metrics: Sequence[str], rate: int, pair: Pair) -> Item:
    """Score the estimates of one mixture in their best order by SI-SNR."""
    if pair.mixture is None or pair.estimate is None:
        return Item(pair.id, error=pair.error)
    mixture = pair.mixture.mixture.astype(np.float64)
    estimate, reference = pair.estimate.astype(np.float64), pair.mixture.sources.astype(np.float64)
    if estimate.shape != reference.shape:
        return Item(pair.id, error=f"{_shape(estimate)} were estimated, the references are {_shape(reference)}")
    if len(mixture) != reference.shape[1]:
        return Item(pair.id, error=f"the mixture has {len(mixture)} samples, the references have {reference.shape[1]}")
    for what, samples in (("estimate", estimate), ("reference", reference), ("mixture", mixture)):
        if not np.isfinite(samples).all():
            return Item(pair.id, error=f"the {what} holds samples that are not numbers")
    tensors = torch.from_numpy(estimate)[None], torch.from_numpy(reference)[None]
    order = tuple(best_permutation(si_snr, estimate=tensors[0], reference=tensors[1]).order[0].tolist())
    scores: dict[str, list[float | None]] = {}
    reasons: dict[str, list[str | None]] = {}
    for metric in metrics:
        values: list[float | None] = []
        why: list[str | None] = []
        for true, voice in zip(reference, estimate[list(order)], strict=True):
            value, reason = _score(metric, voice, true, mixture, rate)
            values.append(value)
            why.append(reason)
        scores[metric], reasons[metric] = values, why
    return Item(pair.id, scores, reasons, order)


def _shape(voices: np.ndarray) -> str:
    return f"{voices.shape[0]} voices of {voices.shape[1]} samples"


def _score(
    name: str, estimate: np.ndarray, reference: np.ndarray, mixture: np.ndarray, rate: int
) -> tuple[float | None, str | None]:
    metric = METRICS[name]
    function = FUNCTIONS[metric.base]
    try:
        value = function(estimate=estimate, reference=reference, rate=rate)
        if metric.improvement:
            value -= function(estimate=mixture, reference=reference, rate=rate)
    except UndefinedError as error:
        return None, str(error)
    return value, None


def summarise(items: Iterable[Item], metrics: Sequence[str]) -> list[Summary]:
    """Add up items; undefined values and failed items are counted apart, never as numbers."""
    items = list(items)
    failed = sum(bool(item.error) for item in items)
    random = np.random.default_rng(0)
    summaries = []
    for metric in metrics:
        per_item = [[v for v in item.scores.get(metric, []) if v is not None] for item in items if not item.error]
        undefined = sum(v is None for item in items if not item.error for v in item.scores.get(metric, []))
        filled = [np.array(values) for values in per_item if values]
        values = np.concatenate(filled) if filled else np.zeros(0)
        low, high = _interval(filled, random)
        summaries.append(
            Summary(
                metric,
                METRICS[metric].unit,
                float(values.mean()) if len(values) else math.nan,
                low,
                high,
                float(np.median(values)) if len(values) else math.nan,
                float(np.percentile(values, 5)) if len(values) else math.nan,
                len(values),
                undefined,
                failed,
            )
        )
    return summaries


def _interval(filled: list[np.ndarray], random: np.random.Generator, draws: int = 1000) -> tuple[float, float]:
    if len(filled) < 2:
        return math.nan, math.nan
    sums, counts = np.array([v.sum() for v in filled]), np.array([len(v) for v in filled])
    drawn = random.integers(len(filled), size=(draws, len(filled)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def estimates_of_model(rows: list[manifest.Mixture], model: str, device: str) -> tuple[int, Iterator[Pair]]:
    """Separate every mixture of a manifest; returns the model's rate and the pairs."""
    _, path = checkpoints.resolve(model)
    network, header = checkpoints.load(path)
    where = choose_device(device)
    network.to(where)

    def run() -> Iterator[Pair]:
        for row in rows:
            try:
                if len(row.sources) != header.sources:
                    raise SeptoolError(f"{len(row.sources)} sources, {model} gives {header.sources}")
                rendered = render(row, header.sample_rate)
                mixture = torch.from_numpy(rendered.mixture).to(where)[None]
                with torch.inference_mode(), enough_memory(f"for {mixture.shape[1]} samples at once"):
                    estimate = feed(network, mixture)
                yield Pair(row.id, rendered, estimate[0].float().cpu().numpy())
            except SeptoolError as error:
                yield Pair(row.id, error=str(error))

    return header.sample_rate, run()


def estimates_on_disk(rows: list[manifest.Mixture], folder: Path, rate: int) -> Iterator[Pair]:
    """Read the estimates ``{id}_s1``, ``{id}_s2``, ... of every mixture of a manifest."""
    files = _by_name(folder)
    for row in rows:
        try:
            yield Pair(row.id, render(row, rate), _voices(files, row.id, len(row.sources), folder, rate))
        except SeptoolError as error:
            yield Pair(row.id, error=str(error))


def estimates_in_folders(
    references: Path, estimates: Path, limit: int | None = None
) -> tuple[int, int, Iterator[Pair]]:
    """Pair two folders with files ``{id}_s1``, ``{id}_s2``, ...; ``{id}`` itself is the mixture, if there.

    A mixture without a file is taken to be the sum of its references.

    Returns:
        The rate, the number of items, and the items.
    """
    true, found = _by_name(references), _by_name(estimates)
    names = sorted(name.removesuffix("_s1") for name in true if name.endswith("_s1"))[:limit]
    if not names:
        raise UsageError(f"{references} has no files named like call_s1.wav, call_s2.wav")
    rate = _first_rate(true[f"{name}_s1"] for name in names)

    def run() -> Iterator[Pair]:
        for name in names:
            count = 1
            while f"{name}_s{count + 1}" in true:
                count += 1
            try:
                sources = _voices(true, name, count, references, rate)
                mixture = audio.mono(_at_rate(true[name], rate)) if name in true else sources.sum(0)
                yield Pair(name, Rendered(mixture, sources), _voices(found, name, count, estimates, rate))
            except SeptoolError as error:
                yield Pair(name, error=str(error))

    return rate, len(names), run()


def _by_name(folder: Path) -> dict[str, Path]:
    """Audio files by their place in the folder without suffix, ``/`` made ``_`` as in the names that mix gives."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in audio.SUFFIXES and not path.name.startswith("."):
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


def _at_rate(path: Path, rate: int) -> np.ndarray:
    samples, own = audio.read(path)
    if own != rate:
        raise AudioError(f"{path} is {own} Hz, the others are {rate}")
    return samples


def _voices(files: dict[str, Path], name: str, count: int, folder: Path, rate: int) -> np.ndarray:
    stems = [f"{manifest.file_stem(name)}_s{voice + 1}" for voice in range(count)]
    for stem in stems:
        if stem not in files:
            raise SeptoolError(f"{folder} has no {stem}")
    voices = [audio.mono(_at_rate(files[stem], rate)) for stem in stems]
    if len({len(voice) for voice in voices}) > 1:
        raise SeptoolError(f"the voices of {name} in {folder} differ in length")
    return np.stack(voices)


def evaluate(
    source: Path,
    estimates: Path | None = None,
    *,
    model: str | None = None,
    metric: str = "si-snri,sdri",
    out: Path | None = None,
    device: str = "auto",
    jobs: int = 1,
    limit: int | None = None,
    force: bool = False,
    report: Callable[[int, int, Item], None] = lambda *_: None,
) -> tuple[list[Item], list[Summary]]:
    """Score a model or estimates.

    Args:
        source: a manifest, or a folder of references ``{id}_s1``, ``{id}_s2``, ...
        estimates: folder of estimates under the same names; None to run ``model``.
        model: the checkpoint to run on the mixtures of a manifest.
        metric: names, separated by commas.
        out: file for the items: ``.jsonl`` or ``.csv``.
        device: where the model runs.
        jobs: processes that score.
        limit: only the first so many mixtures.
        force: replace ``out`` if it is there.
        report: called with the number done, of how many, and the item.

    Returns:
        The items in the order of their ids, and one summary per metric.

    Raises:
        UsageError: neither or both of ``estimates`` and ``model``, or an unknown metric.
    """
    metrics = parse_metrics(metric)
    if out is not None and out.suffix not in (".jsonl", ".csv"):
        raise UsageError(f"--out {out} has to end in .jsonl or .csv")
    if out is not None and out.exists() and not force:
        raise SeptoolError(f"{out} exists; use --force to replace it")
    if (estimates is None) == (model is None):
        raise UsageError("give a folder of estimates or --model, one of the two")
    if source.is_dir():
        if estimates is None:
            raise UsageError(f"{source} is a folder of references; give the folder of estimates, or a manifest")
        rate, total, found = estimates_in_folders(source, estimates, limit)
    else:
        rows = sorted(manifest.read(source), key=lambda row: row.id)[:limit]
        total = len(rows)
        if model is not None:
            rate, found = estimates_of_model(rows, model, device)
        else:
            assert estimates is not None
            rate = rows[0].sample_rate
            found = estimates_on_disk(rows, estimates, rate)

    if out is not None:
        audio.make_folder(out.parent)  # now, not after hours of scoring
    items: list[Item] = []
    for item in workers.each(partial(score_item, metrics, rate), found, jobs):
        items.append(item)
        report(len(items), total, item)
    if out is not None:
        write_items(out, items, metrics)
    return items, summarise(items, metrics)


def write_items(out: Path, items: Sequence[Item], metrics: Sequence[str]) -> None:
    """Write the items as JSON lines, or as CSV with one row per reference."""
    with audio.replacing(out) as partial_path, partial_path.open("w", encoding="utf-8", newline="") as file:
        if out.suffix == ".jsonl":
            file.writelines(json.dumps(item.row()) + "\n" for item in items)
            return
        writer = csv.writer(file)
        writer.writerow(["id", "source", *metrics, "note"])
        for item in items:
            if item.error:
                writer.writerow([item.id, "", *("" for _ in metrics), item.error])
                continue
            for voice in range(len(item.order)):
                values = [item.scores[metric][voice] for metric in metrics]
                notes = {reason for metric in metrics if (reason := item.reasons[metric][voice])}
                writer.writerow(
                    [item.id, voice + 1, *("" if v is None else f"{v:.4f}" for v in values), "; ".join(sorted(notes))]
                )
