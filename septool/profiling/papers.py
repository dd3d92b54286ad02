"""The cost tables of the papers, as data in ``septool/papers``, and what was measured beside them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch

from septool.config import build, read_toml
from septool.models.build import build_model, config_of
from septool.profiling.macs import count
from septool.profiling.measure import Row, exponent
from septool.registry import suggest

PAPERS = Path(__file__).parent.parent / "papers"
NAMES = ("sepformer-fig3", "papez-table2", "papez-table3", "dp-rcnet-table1", "galr-table1", "galr-table3")
TOLERANCE = 0.1  # relative difference that is worth a word


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A column that papers print."""

    name: str
    of: Callable[[Row], float | None]
    device: str = ""  # the only kind it was printed for
    constant: bool = False  # whatever the length


def _memory(unit: int) -> Callable[[Row], float | None]:
    return lambda row: None if row.memory is None else row.memory / unit


QUANTITIES = {
    "parameters_m": Quantity(name="parameters, M", of=lambda row: row.parameters / 1e6, constant=True),
    "gmacs": Quantity(name="MACs, G", of=lambda row: row.macs / 1e9),
    "gflops": Quantity(name="FLOPs, G", of=lambda row: row.flops / 1e9),
    "latency_ms": Quantity(name="latency, ms", of=lambda row: 1000 * row.latency.median),
    "cpu_s": Quantity(name="latency, s", of=lambda row: row.latency.median, device="cpu"),
    "gpu_ms": Quantity(name="latency, ms", of=lambda row: 1000 * row.latency.median, device="cuda"),
    "memory_gb": Quantity(name="memory, GB", of=_memory(10**9)),
    "memory_mib": Quantity(name="memory, MiB", of=_memory(2**20)),
}


@dataclass(frozen=True, kw_only=True)
class System:
    """A row of a paper's table."""

    label: str
    model: str  # as the profiler is asked for it
    config: dict[str, Any] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)
    more: tuple[str, ...] = ()  # quantities of which the paper says, without a number: more than the reference
    why: dict[str, str] = field(default_factory=dict)  # what is known of a difference
    si_snri: float | None = None  # dB, WSJ0-2mix

    def __post_init__(self) -> None:
        _known(*self.published, *self.more, *self.why)


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term of a complexity: the MACs of one kind of operation in some modules, and how they grow."""

    label: str
    model: str
    module: str  # regular expression for paths below the network
    kind: str  # of operation, as septool.profiling.macs names it
    power: float  # of the length


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A table or figure."""

    title: str
    protocol: str
    lengths: tuple[float, ...]  # seconds
    reference: str = ""  # label of the system that the others are set in relation to
    rows: tuple[System, ...]
    terms: tuple[Term, ...] = ()
    why: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _known(*self.why)
        if self.reference and self.reference not in {row.label for row in self.rows}:
            raise ValueError(f"reference is {self.reference!r}, which is no row")


def _known(*quantities: str) -> None:
    for quantity in quantities:
        if quantity not in QUANTITIES:
            raise ValueError(f"{quantity!r} is not a quantity (known: {', '.join(QUANTITIES)})")


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


def load(name: str) -> Paper:
    """Read a paper's table by its name, or from a ``.toml`` file of the same form."""
    path = Path(name)
    if path.suffix != ".toml":
        if name not in NAMES:
            raise suggest("paper table", name, NAMES)
        path = PAPERS / f"{name}.toml"
    return build(Paper, read_toml(path))


@cache
def _systems() -> list[tuple[str, Any, Paper, System]]:
    found = []
    for paper in map(load, NAMES):
        for system in paper.rows:
            model, _, row = system.model.partition(":")
            found.append((model, config_of(model, system.config, row or None), paper, system))
    return found


def published(model: str, config: Any) -> list[tuple[Paper, System]]:
    """Return the rows that the papers have for exactly this network."""
    return [(paper, system) for name, known, paper, system in _systems() if (name, known) == (model, config)]


def published_si_snri(model: str, config: Any) -> float | None:
    """Return the SI-SNRi in dB that the first of the papers prints for exactly this network."""
    printed = (system.si_snri for _, system in published(model, config))
    return next((value for value in printed if value is not None), None)


def compare(paper: Paper, rows: Sequence[Row], kind: str) -> list[Comparison]:
    """Set what was measured on a device of a ``kind`` beside what was published."""
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
    return comparisons + [_grow(term, paper.lengths) for term in paper.terms]


def _compare(paper: Paper, system: System, key: str, row: Row, base: Row | None) -> Comparison:
    quantity = QUANTITIES[key]
    measured, published = quantity.of(row), system.published.get(key)
    assert measured is not None
    reference = next((other.published.get(key) for other in paper.rows if other.label == paper.reference), None)
    relative, told = _ratio(measured, quantity.of(base) if base else None), _ratio(published, reference)
    off = relative is not None and told is not None and abs(relative / told - 1) > TOLERANCE
    denied = relative is not None and key in system.more and relative <= 1
    return Comparison(
        label=system.label,
        seconds=row.seconds,
        quantity=quantity.name,
        published=published,
        measured=measured,
        ratio=_ratio(measured, published),
        published_relative=told,
        measured_relative=relative,
        differs=off or denied,
        claim="> 1" if key in system.more else "",
        why=system.why.get(key) or paper.why.get(key, "") if off or denied else "",
    )


def _grow(term: Term, lengths: Sequence[float]) -> Comparison:
    measured = exponent(lengths, [_term_macs(term, seconds) for seconds in lengths])
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
    return sum(kinds.get(term.kind, 0) for path, kinds in modules.items() if re.fullmatch(rf"\w+\.{term.module}", path))


@cache
def _modules(name: str, seconds: float, rate: int = 8000) -> dict[str, dict[str, int]]:
    model, _, row = name.partition(":")
    with torch.device("meta"):
        return count(build_model(model, variant=row or None).eval(), torch.empty(1, round(seconds * rate))).modules


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base
