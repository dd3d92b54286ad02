"""What a profile holds, and the forms it takes: tables, JSON lines, CSV, figures, a page with all of it."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from septool.config import build
from septool.errors import SeptoolError, UsageError
from septool.files import atomic_write, make_folder
from septool.profiling.measure import Conditions, Failed, Row, Timing
from septool.profiling.papers import Comparison, Paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

CONVENTION = (
    "One MAC is a product added to a sum, two FLOPs; matrix products, convolutions, attention and the gates of LSTMs "
    "are counted, of one recording. Memory includes the weights. Beside a median of processes, or of "
    "the repeats in one, stands what it lies between, with 94 % from five on."
)
SIZES = ["model", "audio s", "params M", "disk MB", "GMACs", "GFLOPs", "GMACs a s"]
COSTS = [*SIZES, "ms", "from", "to", "real time", "memory MB"]
TRAINING = ["step ms", "from", "to", "step MB"]
MARKS = "osD^v"  # after ten colours, the next mark


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and with what it was measured."""

    hardware: str
    cores: int
    threads: int
    system: str
    driver: str  # of the GPU
    cuda: str
    septool: str
    torch: str
    python: str
    commit: str
    date: str

    def __str__(self) -> str:
        gpu = f", driver {self.driver}, CUDA {self.cuda}" if self.cuda else ""
        version = f"{self.septool} ({self.commit})" if self.commit else self.septool
        return (
            f"{self.hardware}{gpu}, {self.threads} of {self.cores} processor threads, {self.system}; "
            f"septool {version}, torch {self.torch}, Python {self.python}; {self.date}"
        )


@dataclass(frozen=True, kw_only=True)
class Growth:
    """By which power of the length a subject's costs grow; memory without the weights."""

    model: str
    latency: float
    macs: float
    memory: float | None


KINDS: dict[str, Any] = {"cost": Row, "comparison": Comparison, "growth": Growth, "failure": Failed}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Everything that was measured."""

    machine: Machine
    conditions: Conditions
    rows: list[Row]
    growth: list[Growth]
    failures: list[Failed]
    paper: Paper | None = None
    comparisons: Sequence[Comparison] = ()


@dataclass(frozen=True)
class Table:
    """A table to print."""

    title: str
    columns: list[str]
    rows: list[list[Any]]


def tables(profile: Profile) -> list[Table]:
    """Return the tables worth printing, the costs first."""
    how, paper = profile.conditions, profile.paper
    heard = how.speech.name if how.speech else "noise"
    conditions = f"{how.device}, {how.dtype}, batch {how.batch}, {heard}" + (", compiled" if how.compile else "")
    conditions += f", {how.rounds} processes for each model" if how.rounds > 1 else ", a process for each model"
    heading = f"{profile.machine}\n{conditions}"
    found = [Table(heading, COSTS + (TRAINING if how.train else []), [_cost(row, how) for row in profile.rows])]
    if paper and profile.comparisons:
        relative = [f"published / {paper.reference}", f"measured / {paper.reference}"] if paper.reference else []
        columns = ["system", "audio s", "quantity", "published", "measured", "ratio", *relative, "", "why"]
        body = [_compared(comparison, paper) for comparison in profile.comparisons]
        found.append(Table(f"{paper.title}: {paper.protocol}", columns, body))
    if profile.growth:
        body = [[fit.model, fit.latency, fit.macs, fit.memory] for fit in profile.growth]
        heading = "power of the length by which costs grow (memory without the weights)"
        found.append(Table(heading, ["model", "latency", "MACs", "memory"], body))
    body = [[row.model, row.seconds, " ".join(f"{s:.2f}" for s in row.running)] for row in profile.rows if row.running]
    if body:
        heading = f"share of tokens that run, step by step, on {heard}"
        found.append(Table(heading, ["model", "audio s", "running"], body))
    return found


def _cost(row: Row, how: Conditions) -> list[Any]:
    giga = row.macs / 1e9
    cells = [row.model, row.seconds, row.parameters / 1e6, row.bytes / 1e6, giga, row.flops / 1e9, giga / row.seconds]
    cells += [*milliseconds(row.latency), row.real_time_factor, _mega(row.memory)]
    return cells + ([*milliseconds(row.training), _mega(row.training_memory)] if how.train else [])


def _compared(one: Comparison, paper: Paper) -> list[Any]:
    relative = [one.claim or one.published_relative, one.measured_relative] if paper.reference else []
    numbers = [one.published, one.measured, one.ratio, *relative]
    return [one.label, one.seconds, one.quantity, *numbers, "differs" if one.differs else "", one.why]


def milliseconds(timing: Timing | None) -> list[float | None]:
    """Return the median and what it lies between."""
    return [1000 * t for t in (timing.median, timing.low, timing.high)] if timing else [None] * 3


def _mega(size: int | None) -> float | None:
    return None if size is None else size / 1e6


def lines(profile: Profile) -> Iterator[dict[str, Any]]:
    """Yield everything as rows of plain values; ``kind`` says what each is."""
    heard = profile.conditions.speech
    conditions = asdict(profile.conditions) | {"speech": heard and heard.name, "trace": None}
    title = profile.paper.title if profile.paper else None
    yield {"kind": "machine"} | asdict(profile.machine) | {"conditions": conditions, "paper": title}
    for kind, found in zip(KINDS, (profile.rows, profile.comparisons, profile.growth, profile.failures), strict=True):
        yield from ({"kind": kind} | asdict(one) for one in found)


def read(path: Path) -> Profile:
    """Read what :func:`write` wrote as JSON lines, all but the table of the paper itself."""
    found: dict[str, list[Any]] = {"machine": []} | {kind: [] for kind in KINDS}
    conditions: dict[str, Any] = {}
    for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        kind = line.pop("kind")
        if kind == "machine":
            conditions, _ = line.pop("conditions"), line.pop("paper")
        found[kind].append(build(KINDS.get(kind, Machine), line))
    heard = conditions.pop("speech")
    return Profile(
        machine=found["machine"][0],
        conditions=build(Conditions, conditions | {"speech": heard and Path(heard)}),
        rows=found["cost"],
        growth=found["growth"],
        failures=found["failure"],
        comparisons=found["comparison"],
    )


def check(out: Path | None, plot: Path | None, html: Path | None, trace: Path | None, *, force: bool) -> None:
    """Refuse files that could not be written after all the measuring, or, without ``force``, that are there."""
    if plot or html:
        _figure()
    for option, path, suffixes in (
        ("--out", out, (".jsonl", ".csv")),
        ("--plot", plot, (".png", ".svg")),
        ("--html", html, (".html",)),
        ("--torch-profiler", trace, (".json",)),
    ):
        if path is None:
            continue
        if path.suffix not in suffixes:
            raise UsageError(f"{option} {path} has to end in {' or '.join(suffixes)}")
        if path.exists() and not force:
            raise SeptoolError(f"{path} exists; use --force to replace it")
        make_folder(path.parent)


def write(profile: Profile, *, out: Path | None, plot: Path | None, html: Path | None) -> None:
    """Write the files that were asked for."""
    if out is not None:
        with atomic_write(out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            if out.suffix == ".jsonl":
                file.writelines(json.dumps(line) + "\n" for line in lines(profile))
            else:
                _write_csv(profile, file)
    if plot is not None:
        with atomic_write(plot) as partial:
            draw(profile).savefig(partial, format=plot.suffix[1:], dpi=150)
    if html is not None:
        with atomic_write(html) as partial:
            partial.write_text(page(profile), encoding="utf-8")


def _write_csv(profile: Profile, file: TextIO) -> None:
    """Write what :func:`lines` yields, with the columns of all kinds, and the machine on every line."""
    machine, *found = [_cells(line) for line in lines(profile)]
    rows = [cells | machine | {"kind": cells["kind"]} for cells in found]
    writer = csv.DictWriter(file, dict.fromkeys(column for cells in rows for column in cells))
    writer.writeheader()
    writer.writerows(rows)


def _cells(line: dict[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for key, value in line.items():
        if isinstance(value, dict):
            cells |= {f"{key}_{inner}": cell for inner, cell in value.items()}
        else:
            cells[key] = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return cells


def page(profile: Profile) -> str:
    """Return an HTML page with the tables and the figures."""
    image = io.StringIO()
    draw(profile).savefig(image, format="svg")
    title = profile.paper.title if profile.paper else "septool profile"
    body = "".join(_html(table) for table in tables(profile))
    drawing = image.getvalue()
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>'
        "body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em}"
        "table{border-collapse:collapse;margin:2em 0}caption{text-align:left;white-space:pre-line;padding-bottom:.5em}"
        "td,th{padding:.15em .8em .15em 0;text-align:left}td{border-top:1px solid #ddd}td.n{text-align:right}"
        f"svg{{max-width:100%;height:auto}}</style><h1>{escape(title)}</h1><p>{escape(CONVENTION)}</p>"
        f"{body}{drawing[drawing.index('<svg') :]}</html>\n"
    )


def _html(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "".join(f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in table.rows)
    return f"<table><caption>{escape(table.title)}</caption><tr>{head}</tr>{body}</table>"


def _html_cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.2f}</td>'
    return f"<td>{'-' if value is None else escape(str(value))}</td>"


def _figure() -> type["Figure"]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("figures need matplotlib; install it with: pip install 'septool[plot]'") from None
    return Figure


def draw(profile: Profile) -> "Figure":
    """Draw time and memory against length, one line a model, and SI-SNRi against costs where it is known."""
    models = list(dict.fromkeys(row.model for row in profile.rows))
    scored = any(row.quality is not None for row in profile.rows)
    figure = _figure()(figsize=(11, 8 if scored else 4.2), layout="constrained")
    panels: list[Axes] = list(figure.subplots(2 if scored else 1, 2).flat)
    for place, model in enumerate(models):
        rows = [row for row in profile.rows if row.model == model]
        colour = f"C{place % 10}"
        look: dict[str, Any] = {"color": colour, "marker": MARKS[place // 10 % len(MARKS)]}
        panels[0].plot([r.seconds for r in rows], [1000 * r.latency.median for r in rows], label=model, **look)
        known = [(row.seconds, row.memory / 1e6) for row in rows if row.memory]
        if known:  # what a small model needs beyond its process can be nothing
            panels[1].plot([seconds for seconds, _ in known], [memory for _, memory in known], **look)
        last = max(rows, key=lambda row: row.seconds)
        if last.quality is not None:
            look |= {"linestyle": "", "markerfacecolor": "none" if last.quality_from == "measured" else colour}
            panels[2].plot(last.real_time_factor, last.quality, **look)
            panels[3].plot(last.macs / 1e9 / last.seconds, last.quality, **look)
    for panel, label in zip(panels[:2], ("latency, ms", "memory, MB"), strict=True):
        panel.set(xlabel="audio, s", ylabel=label)
        if panel.has_data():
            panel.set(xscale="log", yscale="log")
            _plain_ticks(panel.yaxis)
            _plain_ticks(panel.xaxis)
    for panel, label in zip(panels[2:], ("seconds for one of audio", "GMACs for one second of audio"), strict=False):
        hollow = any(row.quality_from == "measured" for row in profile.rows)
        panel.set(xscale="log", xlabel=label, ylabel="SI-SNRi, dB" + " (hollow: measured here)" * hollow)
        _plain_ticks(panel.xaxis)
    for panel in panels:
        panel.grid(visible=True, color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(profile.paper.title if profile.paper else profile.machine.hardware)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _plain_ticks(axis: "Axis") -> None:
    """Mark a logarithmic axis at round numbers, written as such, the closer the fewer decades it spans."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
