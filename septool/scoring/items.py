"""What recordings scored: the values of an item, and their summary over all items."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from septool.data.mixing import Rendered
from septool.errors import SeptoolError, UsageError
from septool.files import atomic_write
from septool.losses.pit import best_permutation
from septool.metrics import FUNCTIONS, METRICS, UndefinedError
from septool.metrics.eer import EqualErrorRate, equal_error_rate
from septool.metrics.si_snr import si_snr
from septool.registry import suggest

HASHES = ("manifest_sha256", "model_sha256")


class ScoringInput(NamedTuple):
    """A mixture and its estimates, or why there are none."""

    id: str
    mixture: Rendered | None = None
    estimate: np.ndarray | None = None  # [source, time]
    error: str = ""
    found: Mapping[str, float] = {}  # what finding a voice, or telling two apart, is scored by


@dataclass(frozen=True)
class Item:
    """What one mixture scored: for each metric a value per reference, or why there is none."""

    id: str
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    reasons: dict[str, list[str | None]] = field(default_factory=dict)  # where a score is None
    order: tuple[int, ...] = ()  # estimate of each reference
    found: Mapping[str, float] = field(default_factory=dict)
    error: str = ""  # the whole item failed
    of: Mapping[str, str] = field(default_factory=dict)  # sha256 of the manifest and of the model

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON; empty parts are left out."""
        if self.error:
            return {"id": self.id, "error": self.error, **self.of}
        why = {metric: reasons for metric, reasons in self.reasons.items() if any(reasons)}
        undefined = {"undefined": why} if why else {}
        return {"id": self.id, "order": list(self.order), **self.scores, **self.found, **undefined, **self.of}

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Item":
        """Make an item of what :meth:`row` gave."""
        scores = {metric: row[metric] for metric in METRICS if metric in row}
        why = row.get("undefined", {})
        reasons = {metric: why.get(metric, [None] * len(values)) for metric, values in scores.items()}
        known = {"id", "order", "error", "undefined", *METRICS, *HASHES}
        return cls(
            row["id"],
            scores,
            reasons,
            tuple(row.get("order", ())),
            {key: value for key, value in row.items() if key not in known},
            row.get("error", ""),
            {key: row[key] for key in HASHES if key in row},
        )


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
    threshold: float | None = None  # of an error rate: the score at which it is that
    sample_rate: int | None = None  # Hz at which it was scored
    manifest_sha256: str | None = None  # of what it was scored on, unless that is a folder
    model_sha256: str | None = None  # of what was scored, unless that is files


def parse_metric_names(names: str | Sequence[str]) -> list[str]:
    """Split and check a list of metrics such as ``si-snri,sdri,pesq``."""
    parts = names.split(",") if isinstance(names, str) else list(names)
    chosen = [part.strip().lower() for part in parts if part.strip()]
    for name in chosen:
        if name not in METRICS:
            raise suggest("metric", name, METRICS)
    if not chosen:
        raise UsageError(f"no metric was named; choose from {', '.join(METRICS)}")
    return list(dict.fromkeys(chosen))


def score_item(metrics: Sequence[str], rate: int, pair: ScoringInput) -> Item:
    """Score the estimates of one mixture in their best order by SI-SNR."""
    if pair.mixture is None or pair.estimate is None:
        return Item(pair.id, error=pair.error, found=pair.found)
    mixture = pair.mixture.mixture.astype(np.float64)
    estimate, reference = pair.estimate.astype(np.float64), pair.mixture.sources.astype(np.float64)
    if not reference.shape[1]:
        return Item(pair.id, error="the references have no samples")
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
    return Item(pair.id, scores, reasons, order, pair.found)


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


def summarize_items(items: Iterable[Item], metrics: Sequence[str]) -> list[Summary]:
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


def summarize_detections(items: Sequence[Item], name: str, *, yes: str, no: str) -> list[Summary]:
    """Add up how often the right voice was found, and the equal error rate of what was found under two names.

    Scores under one of the names alone leave the error rate undefined.

    Args:
        items: the items.
        name: what to call the error rate.
        yes: name of the scores that ought to be high.
        no: name of those that ought to be low.
    """
    failed = sum(bool(item.error) for item in items)
    random = np.random.default_rng(0)
    summaries = []
    right = [np.array([item.found["right-voice"]]) for item in items if "right-voice" in item.found]
    if right:
        low, high = _interval(right, random)
        mean = float(np.mean(right))
        summaries.append(Summary("right-voice", "%", mean, low, high, math.nan, math.nan, len(right), 0, failed))
    high_ones, low_ones = (np.array([item.found[key] for item in items if key in item.found]) for key in (yes, no))
    nan = math.nan
    if bool(len(high_ones)) != bool(len(low_ones)):
        undefined = len(high_ones) + len(low_ones)
        summaries.append(Summary(name, "%", nan, nan, nan, nan, nan, 0, undefined, failed))
    elif len(high_ones):
        error = error_rate(high_ones, low_ones)
        drawn = [error_rate(*(random.choice(s, len(s)) for s in (high_ones, low_ones))).percent for _ in range(200)]
        low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
        count = len(high_ones) + len(low_ones)
        summaries.append(Summary(name, "%", error.percent, low, high, nan, nan, count, 0, failed, error.threshold))
    return summaries


def error_rate(yes: np.ndarray, no: np.ndarray) -> EqualErrorRate:
    """Return the equal error rate of scores that ought to be high and of ones that ought to be low."""
    return equal_error_rate(np.concatenate((yes, no)), np.arange(len(yes) + len(no)) < len(yes))


def read_items(path: Path, metrics: Sequence[str], of: Mapping[str, str]) -> dict[str, Item]:
    """Read the items of a file of JSON lines that are done: without failure, and scored by all these metrics.

    Raises:
        SeptoolError: the file holds items of another manifest or model, or scores that would be lost.
    """
    items: dict[str, Item] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            item = Item.parse(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # the last line of a run that was killed
        if item.of != of:
            raise SeptoolError(f"{path} holds scores of another manifest or model; use --force to replace it")
        if item.error:
            continue
        if item.scores.keys() >= set(metrics):
            items[item.id] = item
        elif lost := sorted(item.scores.keys() - set(metrics)):
            raise SeptoolError(
                f"{path} holds scores by {lost[0]}, which would be lost; ask for it too, use another --out or --force"
            )
    return items


@contextmanager
def writing(out: Path | None, there: Iterable[Item], metrics: Sequence[str]) -> Iterator[Callable[[Item], None]]:
    """Yield what takes items to a file, which begins with those that are ``there``.

    JSON lines are written one by one, so that a run that is stopped leaves its items. CSV is written at the end,
    since its columns depend on all items.
    """
    items = list(there)
    if out is None or out.suffix != ".jsonl":
        yield items.append
        if out is not None:
            write_table(out, items, metrics)
        return
    with atomic_write(out) as partial_path:
        partial_path.write_text("".join(map(_line, items)), encoding="utf-8")
    with out.open("a", encoding="utf-8") as file:

        def append(item: Item) -> None:
            try:
                file.write(_line(item))
                file.flush()
            except OSError as error:
                raise SeptoolError(f"{out} cannot be written: {error.strerror}") from None

        yield append


def _line(item: Item) -> str:
    return json.dumps(item.row()) + "\n"


def write_table(out: Path, items: Sequence[Item], metrics: Sequence[str]) -> None:
    """Write the items as CSV with one row per reference, or per item where there is none."""
    besides = list(dict.fromkeys(name for item in items for name in item.found))
    hashes = [key for key in HASHES if any(key in item.of for item in items)]
    with (
        atomic_write(out) as partial_path,
        partial_path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["id", "source", *metrics, *besides, "note", *hashes])
        for item in items:
            of = [item.of.get(key, "") for key in hashes]
            if item.error:
                writer.writerow([item.id, "", *("" for _ in (*metrics, *besides)), item.error, *of])
                continue
            more = [f"{item.found[name]:.4f}" if name in item.found else "" for name in besides]
            if not item.order:
                writer.writerow([item.id, "", *("" for _ in metrics), *more, "", *of])
            for voice in range(len(item.order)):
                values = [item.scores[metric][voice] for metric in metrics]
                notes = {reason for metric in metrics if (reason := item.reasons[metric][voice])}
                numbers = ["" if value is None else f"{value:.4f}" for value in values]
                writer.writerow([item.id, voice + 1, *numbers, *more, "; ".join(sorted(notes)), *of])
