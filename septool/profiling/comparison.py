"""Measured costs beside those in the papers' tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch

from septool.errors import UsageError
from septool.models.build import build_model, config_of
from septool.profiling.macs import count_macs
from septool.profiling.papers import QUANTITIES, Paper, System, Term, paper_names, read_paper
from septool.profiling.records import Row, scaling_exponent

RATE = 8000  # Hz of what operations are counted for
TOLERANCE = 0.1  # relative difference that is worth a word


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A published number and the measured one."""

    label: str
    seconds: float | None
    quantity: str
    published: float | None
    measured: float
    ratio: float | None  # measured over published
    published_relative: float | None  # to the reference system
    measured_relative: float | None
    differs: bool  # relative to the reference by more than TOLERANCE, or not as the paper says
    claim: str = ""  # what the paper says where it has no number
    why: str = ""


@cache
def _systems() -> list[tuple[str, object, Paper, System]]:
    found = []
    for paper in map(read_paper, paper_names()):
        for system in paper.rows:
            model, _, row = system.model.partition(":")
            found.append((model, config_of(model, system.config, row or None), paper, system))
    return found


def published_rows(model: str, config: object) -> list[tuple[Paper, System]]:
    """Return the rows that the papers have for exactly this network."""
    return [(paper, system) for name, known, paper, system in _systems() if (name, known) == (model, config)]


def published_si_snri(model: str, config: object) -> float | None:
    """Return the SI-SNRi in dB that the first of the papers prints for exactly this network."""
    printed = (system.si_snri for _, system in published_rows(model, config))
    return next((value for value in printed if value is not None), None)


def compare_to_paper(paper: Paper, rows: Sequence[Row], kind: str) -> list[Comparison]:
    """Set what was measured on a device of a ``kind`` beside what was published; terms as :func:`compare_terms`."""
    measured = {(row.model, row.seconds): row for row in rows}
    comparisons = []
    for system, seconds in product(paper.rows, paper.lengths):
        row, base = measured.get((system.label, seconds)), measured.get((paper.reference, seconds))
        if row is None:
            continue
        for key in (*system.published, *system.more):
            quantity = QUANTITIES[key]
            once = quantity.constant and seconds != paper.lengths[0]
            if not once and quantity.device in ("", kind) and quantity.of(row) is not None:
                comparisons.append(_compare(paper, system, key, row, base))
    return comparisons + compare_terms(paper)


def compare_terms(paper: Paper) -> list[Comparison]:
    """Set how the terms of complexities grow, which is counted without measuring anything, beside what was published.

    Raises:
        UsageError: a term that is of nothing in its network, or of no network.
    """
    return [_grow(term, paper.lengths) for term in paper.terms]


def _compare(paper: Paper, system: System, key: str, row: Row, base: Row | None) -> Comparison:
    quantity = QUANTITIES[key]
    measured, published = quantity.of(row), system.published.get(key)
    assert measured is not None
    reference = next((other.published.get(key) for other in paper.rows if other.label == paper.reference), None)
    relative, published_relative = _ratio(measured, quantity.of(base) if base else None), _ratio(published, reference)
    off = relative is not None and published_relative is not None and abs(relative / published_relative - 1) > TOLERANCE
    denied = relative is not None and key in system.more and relative <= 1
    return Comparison(
        label=system.label,
        seconds=row.seconds,
        quantity=quantity.name,
        published=published,
        measured=measured,
        ratio=_ratio(measured, published),
        published_relative=published_relative,
        measured_relative=relative,
        differs=off or denied,
        claim="> 1" if key in system.more else "",
        why=system.why.get(key) or paper.why.get(key, "") if off or denied else "",
    )


def _grow(term: Term, lengths: Sequence[float]) -> Comparison:
    measured = scaling_exponent(lengths, [_term_macs(term, seconds) for seconds in lengths])
    return Comparison(
        label=term.label,
        seconds=None,
        quantity="power of the length",
        published=term.power,
        measured=measured,
        ratio=measured / term.power,
        published_relative=None,
        measured_relative=None,
        differs=abs(measured / term.power - 1) > TOLERANCE,
    )


def _term_macs(term: Term, seconds: float) -> int:
    modules = _modules(term.model, seconds)
    macs = sum(kinds.get(term.kind, 0) for path, kinds in modules.items() if term.is_of(path))
    if not macs:
        known = ", ".join(sorted({kind for kinds in modules.values() for kind in kinds}))
        raise UsageError(
            f"term {term.label!r}: no module of {term.model} that {term.module!r} matches has operations of the kind "
            f"{term.kind!r} (known: {known})"
        )
    return macs


@cache
def _modules(name: str, seconds: float) -> dict[str, dict[str, int]]:
    model, _, row = name.partition(":")
    with torch.device("meta"):
        return count_macs(build_model(model, variant=row or None).eval(), torch.empty(1, round(seconds * RATE))).modules


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base
