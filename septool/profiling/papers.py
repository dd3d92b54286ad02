"""The cost tables of the papers, as data in ``septool/papers``. Imports no torch."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from septool.config import JsonDict, build, read_toml
from septool.profiling.records import Row
from septool.registry import suggest

PAPERS = Path(__file__).parent.parent / "papers"


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
    config: JsonDict = field(default_factory=dict)
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
    kind: str  # kind of operation, as septool.profiling.macs names it
    power: float  # exponent of the length

    def __post_init__(self) -> None:
        if not 0 < self.power < math.inf:
            raise ValueError(f"power is {self.power:g}; it has to be above 0")
        try:
            self.is_of("")
        except re.error as error:
            raise ValueError(f"module is {self.module!r}, which is no regular expression: {error}") from None

    def is_of(self, path: str) -> bool:
        """Return whether the term is of a module at a path, which begins with the network's name."""
        return re.fullmatch(rf"\w+\.{self.module}", path) is not None


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
        if not self.lengths or not all(0 < length < math.inf for length in self.lengths):
            raise ValueError("lengths has to name one or more, in seconds above 0")
        if self.terms and len(set(self.lengths)) < 2:
            raise ValueError("lengths has one; how terms grow takes two")


def _known(*quantities: str) -> None:
    for quantity in quantities:
        if quantity not in QUANTITIES:
            raise ValueError(f"{quantity!r} is not a quantity (known: {', '.join(QUANTITIES)})")


def paper_names() -> list[str]:
    """Return the names of the tables that come with septool."""
    return sorted(path.stem for path in PAPERS.glob("*.toml"))


def read_paper(name: str) -> Paper:
    """Read a paper's table by its name, or from a ``.toml`` file of the same form.

    Raises:
        UsageError: no such table, with the nearest one.
        ConfigError: a file that does not have the form.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if name not in paper_names():
            raise suggest("paper table", name, paper_names())
        path = PAPERS / f"{name}.toml"
    return build(Paper, read_toml(path))
