"""Scoring of one item: estimates assigned to references, and a value or a reason for each metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from septool.config import JsonDict, JsonMapping
from septool.errors import UsageError
from septool.metrics import ALIASES, FUNCTIONS, METRICS, Metric, UndefinedError
from septool.metrics.assignment import assign_sources, rank_pairs
from septool.metrics.si_snr import si_snr
from septool.metrics.wer import words_of
from septool.registry import suggest

IMPROVEMENT = "si-snri"  # how well anything separated, wherever that is one number
FAILED_ITEM_DB = -30.0  # what an item without scores counts where it cannot be counted apart: in a run's validation
NO_SETTINGS: Mapping[str, JsonMapping] = MappingProxyType({})
# What scores depend on, the same for all items of a run, and what each is called.
PROVENANCE = {
    "manifest_sha256": "manifest",
    "model_sha256": "model",
    "speaker_model_sha256": "speaker network",
    "asr": "--asr",
    "passes": "--passes",
    "consistency": "--consistency",
    "dtype": "--dtype",
}


class ScoringInput(NamedTuple):
    """The signals of one item, or why there are none."""

    id: str
    references: Sequence[np.ndarray] = ()  # [time] each
    estimates: Sequence[np.ndarray] = ()  # [time] each
    mixture: np.ndarray | None = None  # [time]; without one, improvements are undefined
    error: str = ""
    texts: Sequence[str | None] = ()  # what is said in each reference, as far as known
    detections: Mapping[str, float] = {}  # scores of whether a voice is there, or of whether two are the same


@dataclass(frozen=True)
class Item:
    """What one item scored: for each metric a value per reference, or why there is none."""

    id: str
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    reasons: dict[str, list[str | None]] = field(default_factory=dict)  # where a score is None
    order: tuple[int, ...] = ()  # estimate of each reference
    detections: Mapping[str, float] = field(default_factory=dict)
    error: str = ""  # the whole item failed
    provenance: Mapping[str, str] = field(default_factory=dict)  # what it was measured on and with; see PROVENANCE

    def to_row(self) -> JsonDict:
        """Return plain values for JSON; empty parts are left out."""
        if self.error:
            return {"id": self.id, "error": self.error, **self.detections, **self.provenance}
        why = {metric: reasons for metric, reasons in self.reasons.items() if any(reasons)}
        undefined = {"undefined": why} if why else {}
        scored = {"order": list(self.order), **self.scores, **self.detections, **undefined}
        return {"id": self.id, **scored, **self.provenance}

    @classmethod
    def from_row(cls, row: JsonMapping) -> "Item":
        """Make an item of what :meth:`to_row` gave."""
        scores = {metric: row[metric] for metric in METRICS if metric in row}
        why = row.get("undefined", {})
        reasons = {metric: why.get(metric, [None] * len(values)) for metric, values in scores.items()}
        known = {"id", "order", "error", "undefined", *METRICS, *PROVENANCE}
        return cls(
            row["id"],
            scores,
            reasons,
            tuple(row.get("order", ())),
            {key: value for key, value in row.items() if key not in known},
            row.get("error", ""),
            {key: row[key] for key in PROVENANCE if key in row},
        )


def parse_metric_names(names: str | Sequence[str]) -> list[str]:
    """Split and check a list of metrics such as ``si-snri,sdri,pesq``; ``sisdr`` and its like stand for si-sdr."""
    parts = names.split(",") if isinstance(names, str) else list(names)
    given = [part.strip().lower().replace("_", "-") for part in parts if part.strip()]
    chosen = [ALIASES.get(name, name) for name in given]
    for name in chosen:
        if name not in METRICS:
            raise suggest("metric", name, METRICS)
    if not chosen:
        raise UsageError(f"no metric was named; choose from {', '.join(METRICS)}")
    return list(dict.fromkeys(chosen))


def score_item(
    metrics: Sequence[str],
    rate: int,
    signals: ScoringInput,
    *,
    trim: bool = False,
    settings: Mapping[str, JsonMapping] = NO_SETTINGS,
) -> Item:
    """Score the estimates of one item, each at the reference that it is assigned to by SI-SNR.

    What silence and what is missing mean is decided here for ``eval``, for the validation of a training run and for
    ``separate --reference``.
    An item fails as a whole where a voice is lost: an estimate is missing, or silent while its reference is not. The
    scores of the other voices alone would say more of the item than is true. A silent reference leaves its own
    scores undefined.

    Args:
        metrics: names of :data:`septool.metrics.METRICS`.
        rate: Hz of all signals.
        signals: the item.
        trim: cut all signals to the shortest instead of refusing different lengths.
        settings: further arguments of metrics' functions, by the functions' names.
    """
    if signals.error or not signals.references:
        return Item(signals.id, error=signals.error, detections=signals.detections)
    try:
        references, estimates, mixture = _checked(signals, trim)
        order = assign_estimates(estimates, references)
        for number, (reference, index) in enumerate(zip(references, order, strict=True), 1):
            if np.ptp(reference) and not np.ptp(estimates[index]):
                raise _ItemError(f"estimate {index + 1} is silent, reference {number} is not: the voice is lost")
    except _ItemError as error:
        return Item(signals.id, error=str(error), detections=signals.detections)
    scores: dict[str, list[float | None]] = {}
    reasons: dict[str, list[str | None]] = {}
    texts = signals.texts or [None] * len(references)
    for name in metrics:
        metric, pairs = METRICS[name], []
        for source, index in enumerate(order):
            further = dict(settings.get(metric.base, {}))
            if metric.needs_others:
                further["others"] = np.delete(references, source, axis=0)
            if metric.needs_text:
                further["text"] = texts[source]
            pairs.append(_score(metric, estimates[index], references[source], mixture, rate, further))
        scores[name], reasons[name] = [value for value, _ in pairs], [reason for _, reason in pairs]
    counted = _count_words(scores["wer"], texts) if "wer" in scores else {}
    return Item(signals.id, scores, reasons, order, {**signals.detections, **counted})


def _count_words(rates: Sequence[float | None], texts: Sequence[str | None]) -> dict[str, float]:
    """Return the errors and the words behind the word error rates of an item, which sets are judged by together."""
    words = [(rate, len(words_of(text or ""))) for rate, text in zip(rates, texts, strict=True) if rate is not None]
    errors = sum(round(rate * count / 100) for rate, count in words)
    return {"wer-errors": errors, "wer-words": sum(count for _, count in words)}


def score_improvement(estimates: Tensor, references: Tensor, mixture: Tensor, rate: int) -> Item:
    """Score SI-SNRi of one item's signals, on any device.

    Args:
        estimates: ``[estimate, time]``.
        references: ``[reference, time]``.
        mixture: ``[time]``.
        rate: Hz of all.
    """
    found, true, mixed = (signals.detach().cpu().double().numpy() for signals in (estimates, references, mixture))
    return score_item([IMPROVEMENT], rate, ScoringInput("", [*true], [*found], mixed))


def value_or_floor(item: Item) -> float | None:
    """Return the mean of an item's improvements in dB, :data:`FAILED_ITEM_DB` if it failed, None if none is defined."""
    if item.error:
        return FAILED_ITEM_DB
    values = [value for value in item.scores[IMPROVEMENT] if value is not None]
    return sum(values) / len(values) if values else None


class _ItemError(Exception):
    """Why an item cannot be scored."""


def _checked(signals: ScoringInput, trim: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return references and estimates ``[source, time]`` and the mixture ``[time]``, all float64 of one length."""
    references, estimates = list(signals.references), list(signals.estimates)
    mixture = signals.mixture
    shortest = min(map(len, [*references, *estimates, *([] if mixture is None else [mixture])]))
    if trim:
        references, estimates = ([voice[:shortest] for voice in voices] for voices in (references, estimates))
        mixture = None if mixture is None else mixture[:shortest]
    if not max(map(len, references)):
        raise _ItemError("the references have no samples")
    for what, voices in (("references", references), ("estimates", estimates)):
        if len({len(voice) for voice in voices}) > 1:
            lengths = ", ".join(str(len(voice)) for voice in voices)
            raise _ItemError(f"the {what} differ in length ({lengths} samples); --trim cuts all to the shortest")
    if len(estimates) < len(references):
        raise _ItemError(f"{len(estimates)} voices were estimated, there are {len(references)} references")
    frames = len(references[0])
    if len(estimates[0]) != frames:
        raise _ItemError(
            f"the estimates have {len(estimates[0])} samples, the references have {frames}; --trim cuts all to the "
            "shortest"
        )
    if mixture is not None and len(mixture) != frames:
        raise _ItemError(
            f"the mixture has {len(mixture)} samples, the references have {frames}; --trim cuts all to the shortest"
        )
    stacked = np.stack(references).astype(np.float64), np.stack(estimates).astype(np.float64)
    for what, samples in (("reference", stacked[0]), ("estimate", stacked[1]), ("mixture", mixture)):
        if samples is not None and not np.isfinite(samples).all():
            raise _ItemError(f"the {what} has non-finite samples")
    return *stacked, None if mixture is None else mixture.astype(np.float64)


def assign_estimates(estimates: np.ndarray, references: np.ndarray) -> tuple[int, ...]:
    """Return the estimate of each reference that makes the sum of the SI-SNRs highest.

    Args:
        estimates: ``[estimate, time]``, as many as references or more.
        references: ``[reference, time]``.
    """
    pairs = si_snr(estimate=torch.from_numpy(estimates)[None], reference=torch.from_numpy(references)[:, None])
    # What is constant has no mean that can be taken off to exactly nothing.
    pairs[np.ptp(references, axis=1) == 0] = torch.nan
    pairs[:, np.ptp(estimates, axis=1) == 0] = torch.nan
    return tuple(assign_sources(rank_pairs(pairs)).tolist())


def _score(
    metric: Metric,
    estimate: np.ndarray,
    reference: np.ndarray,
    mixture: np.ndarray | None,
    rate: int,
    further: JsonMapping,
) -> tuple[float | None, str | None]:
    function = partial(FUNCTIONS[metric.base], **further)
    if not np.ptp(reference):
        return None, "the reference is silent"
    if metric.improvement and mixture is None:
        return None, "there is no mixture to improve on"
    try:
        value = function(estimate=estimate, reference=reference, rate=rate)
        if metric.improvement and mixture is not None:
            value -= _mixture_score(function, mixture, reference, rate)
    except UndefinedError as error:
        return None, str(error)
    return value, None


def _mixture_score(function: Callable[..., float], mixture: np.ndarray, reference: np.ndarray, rate: int) -> float:
    try:
        return function(estimate=mixture, reference=reference, rate=rate)
    except UndefinedError as error:
        raise UndefinedError(str(error).replace("the estimate", "the mixture")) from None
