"""Summaries of scored items, and paired comparisons of two results."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap, permutation_test

from septool.config import JsonDict
from septool.errors import SeptoolError
from septool.metrics import METRICS, Measure, UndefinedError
from septool.metrics.eer import EqualErrorRate, equal_error_rate
from septool.scoring.items import PROVENANCE, Item

RESAMPLES, ERROR_RATE_RESAMPLES, PERMUTATIONS = 1000, 200, 9999
BATCH = 100  # resamples or permutations in memory at once


@dataclass(frozen=True)
class Summary:
    """One metric over all items; every reference of an item counts."""

    metric: str
    unit: str
    mean: float = math.nan
    low: float = math.nan  # 95 % confidence interval of the mean, by bootstrap over items
    high: float = math.nan
    median: float = math.nan
    fifth: float = math.nan  # 5th percentile
    ninety_fifth: float = math.nan  # 95th percentile
    count: int = 0
    undefined: int = 0  # references where the metric has no value
    failed: int = 0  # items that could not be scored at all
    threshold: float | None = None  # score at which an error rate is reached
    sample_rate: int | None = None  # Hz at which it was scored
    group: str | None = None  # group of items, such as "sex f+m"; None for all
    definition: str = ""
    reasons: dict[str, int] = field(default_factory=dict)  # why values are undefined, and how many
    provenance: Mapping[str, str] = field(default_factory=dict)  # what it was measured on and with; see PROVENANCE

    def row(self) -> JsonDict:
        """Return plain values for JSON; what did not play a part in the measurement is None."""
        values = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "provenance"}
        return values | dict.fromkeys(PROVENANCE) | dict(self.provenance)


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two results in one metric: the second minus the first."""

    metric: str
    unit: str
    first: float  # mean over the items that both have
    second: float
    difference: float
    low: float  # 95 % confidence interval of the difference, by bootstrap over items
    high: float
    p_value: float  # two-sided permutation test that swaps the two results of items at random
    count: int  # items
    unpaired: int  # items that one of the two lacks or failed at


def summarize_items(items: Iterable[Item], metrics: Sequence[str | Measure]) -> list[Summary]:
    """Summarize each metric, by its name or itself; undefined values and failed items are counted, never as numbers."""
    items = list(items)
    failed = sum(bool(item.error) for item in items)
    summaries = []
    for measure in metrics:
        metric, unit = (measure, METRICS[measure].unit) if isinstance(measure, str) else (measure.name, measure.unit)
        scored = [item for item in items if not item.error]
        per_item = [[v for v in item.scores.get(metric, []) if v is not None] for item in scored]
        undefined = sum(v is None for item in scored for v in item.scores.get(metric, []))
        reasons = Counter(reason for item in scored for reason in item.reasons.get(metric, []) if reason)
        filled = [np.array(values) for values in per_item if values]
        counts = {"undefined": undefined, "failed": failed, "reasons": dict(reasons.most_common())}
        if not filled:
            summaries.append(Summary(metric, unit, **counts))
            continue
        values = np.concatenate(filled)
        # A generator each: the interval of a metric is the same whatever else is scored.
        low, high = mean_interval(filled, np.random.default_rng(0))
        fifth, median, ninety_fifth = np.percentile(values, [5, 50, 95]).tolist()
        summaries.append(
            Summary(metric, unit, float(values.mean()), low, high, median, fifth, ninety_fifth, len(values), **counts)
        )
    return summaries


def mean_interval(per_item: Sequence[np.ndarray], random: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % interval of the mean of all values, by bootstrap over items: values of one stay together.

    Args:
        per_item: the values of each item, ``[value]``.
        random: for the resamples.
    """
    return _ratio_interval(
        np.array([values.sum() for values in per_item]), np.array([len(values) for values in per_item]), random
    )


def _ratio_interval(sums: np.ndarray, counts: np.ndarray, random: np.random.Generator) -> tuple[float, float]:
    if len(sums) < 2:
        return math.nan, math.nan
    found = bootstrap(
        (sums, counts),
        lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
        paired=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        method="percentile",
        rng=random,
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def summarize_measures(items: Sequence[Item], measures: Iterable[Measure]) -> list[Summary]:
    """Summarize what every item has one number of, such as the error rates of conversations.

    The mean and its interval are weighted where a measure says by what, unless an item lacks its weight, as in a file
    of an older version.
    """
    measures = list(measures)
    as_scores = [
        item if item.error else Item(item.id, {measure.name: [item.detections[measure.name]] for measure in measures})
        for item in items
    ]
    scored = [item.detections for item in items if not item.error]
    return [
        _weighted(summary, metric, scored)
        for summary, metric in zip(summarize_items(as_scores, measures), measures, strict=True)
    ]


def _weighted(summary: Summary, metric: Measure, scored: Sequence[Mapping[str, float]]) -> Summary:
    if not metric.weight or not scored or not all(metric.weight in detections for detections in scored):
        return summary
    values, weights = np.array([[detections[metric.name], detections[metric.weight]] for detections in scored]).T
    low, high = _ratio_interval(values * weights, weights, np.random.default_rng(0))
    return replace(summary, mean=float(values @ weights / weights.sum()), low=low, high=high)


class Detection(NamedTuple):
    """An equal error rate, and the scores that it is computed of."""

    metric: str  # what to call it
    positive: str  # name of the scores that ought to be high
    negative: str  # name of those that ought to be low


PRESENCE = Detection("presence-eer", positive="presence", negative="absence")


def summarize_detections(items: Sequence[Item], detection: Detection) -> list[Summary]:
    """Summarize how often the right voice was extracted, and the equal error rate of detection scores.

    Scores of one kind alone, or NaN among them, as older files of items may have, leave the error rate undefined.

    Args:
        items: the items.
        detection: the error rate.
    """
    name, positive, negative = detection
    failed = sum(bool(item.error) and not item.detections for item in items)  # a voice that was lost was looked for
    summaries = []
    right = [np.array([item.detections["right-voice"]]) for item in items if "right-voice" in item.detections]
    if right:
        low, high = mean_interval(right, np.random.default_rng(0))
        mean = float(np.mean(right))
        summaries.append(Summary("right-voice", "%", mean, low, high, count=len(right), failed=failed))
    high_ones, low_ones = (
        np.array([item.detections[key] for item in items if key in item.detections]) for key in (positive, negative)
    )
    count = len(high_ones) + len(low_ones)
    if not count:
        return summaries
    try:
        error, random = _error_rate(high_ones, low_ones), np.random.default_rng(0)
    except UndefinedError:
        return [*summaries, Summary(name, "%", undefined=count, failed=failed)]
    resampled = [
        _error_rate(*(random.choice(scores, len(scores)) for scores in (high_ones, low_ones))).percent
        for _ in range(ERROR_RATE_RESAMPLES)
    ]
    low, high = np.percentile(resampled, [2.5, 97.5]).tolist()
    found = Summary(name, "%", error.percent, low, high, count=count, failed=failed, threshold=error.threshold)
    return [*summaries, found]


def summarize_words(items: Sequence[Item]) -> list[Summary]:
    """Summarize the word error rate over all words of all items, which is what sets are compared by."""
    counted = np.array(
        [
            [item.detections["wer-errors"], item.detections["wer-words"]]
            for item in items
            if item.detections.get("wer-words")
        ]
    )
    if not len(counted):
        return []
    errors, words = (100 * counted[:, 0], counted[:, 1])
    low, high = _ratio_interval(errors, words, np.random.default_rng(0))
    failed = sum(bool(item.error) for item in items)
    mean = float(errors.sum() / words.sum())
    return [Summary("wer-total", "%", mean, low, high, count=int(words.sum()), failed=failed)]


def _error_rate(positive: np.ndarray, negative: np.ndarray) -> EqualErrorRate:
    return equal_error_rate(
        np.concatenate((positive, negative)), np.arange(len(positive) + len(negative)) < len(positive)
    )


def compare_items(first: Sequence[Item], second: Sequence[Item], measures: Iterable[Measure] = ()) -> list[Comparison]:
    """Compare two results item by item, for each metric that both have; an item counts by the mean of its voices.

    A metric that has no value in both results of any item is left out.

    Args:
        first: items of one result.
        second: items of the other.
        measures: further ones, of which every item has one number.

    Raises:
        SeptoolError: they are of different manifests, or have no metric in common, or no item with a value of one.
    """
    manifests = [{item.provenance.get("manifest_sha256") for item in items} for items in (first, second)]
    if manifests[0] != manifests[1]:
        raise SeptoolError("the two results are of different manifests; score both on the same one")
    of_first, of_second = ({item.id: item for item in items} for items in (first, second))
    metrics = [*METRICS.values(), *measures]
    shared = [metric for metric in metrics if all(any(_numbers(x, metric) for x in items) for items in (first, second))]
    if not shared:
        raise SeptoolError("the two results have no metric in common; score both with the same --metric")
    comparisons = []
    for metric in shared:
        pairs = []
        for id in sorted(of_first.keys() & of_second.keys()):
            voices = zip(_numbers(of_first[id], metric), _numbers(of_second[id], metric), strict=False)
            both = [(before, after) for before, after in voices if before is not None and after is not None]
            if both:
                pairs.append(np.mean(both, axis=0))
        if pairs:  # else undefined throughout, as PESQ is at most rates
            before, after = np.array(pairs).T
            comparisons.append(_compare(metric, before, after, len(of_first.keys() | of_second.keys()) - len(pairs)))
    if not comparisons:
        names = ", ".join(metric.name for metric in shared)
        raise SeptoolError(f"the two results have no item in common that has a value of {names}")
    return comparisons


def _numbers(item: Item, metric: Measure) -> Sequence[float | None]:
    """Return what an item has of a metric: a number for each voice, one for all of it, or nothing."""
    if metric.name in item.detections:
        return [item.detections[metric.name]]
    return item.scores.get(metric.name, ())


def _compare(metric: Measure, before: np.ndarray, after: np.ndarray, unpaired: int) -> Comparison:
    low = high = p_value = math.nan
    if len(before) > 1:
        random = np.random.default_rng(0)
        low, high = mean_interval([np.array([difference]) for difference in after - before], random)
        p_value = permutation_test(
            (after, before),
            lambda after, before, axis: (after - before).mean(axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=PERMUTATIONS,
            batch=BATCH,
            rng=random,
        ).pvalue
    mean = float((after - before).mean())
    averages = float(before.mean()), float(after.mean())
    return Comparison(metric.name, metric.unit, *averages, mean, low, high, float(p_value), len(before), unpaired)
