"""Output of a profile: tables, JSON lines, CSV, figures, and an HTML page."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from markupsafe import Markup

from septool.atomic import atomic_write
from septool.config import JsonDict
from septool.errors import UsageError
from septool.files import make_folder, refuse_existing
from septool.profiling.comparison import Comparison
from septool.profiling.figures import draw_costs, figure_class
from septool.profiling.papers import Paper
from septool.profiling.records import Failure, Row, Settings, Timing
from septool.reports.pages import render_template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONVENTION = (
    "One MAC is a product added to a sum, two FLOPs; matrix products, convolutions, attention and the gates of LSTMs "
    "are counted, of one recording. Memory includes the weights. Beside a median of processes, or of "
    "the repeats in one, stands its confidence interval: of 94 % or more where there are five or more."
)
SIZES = ["model", "audio s", "params M", "disk MB", "GMACs", "GFLOPs", "GMACs a s"]
COSTS = [*SIZES, "ms", "from", "to", "real time", "memory MB"]
TRAINING = ["step ms", "from", "to", "step MB"]
ROOFLINE = ["GFLOP/s", "of peak"]
LAYERS = 12  # that are printed; files have all
TEMPLATE = "profile.html.j2"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and with what it was measured."""

    hardware: str
    cores: int
    threads: int
    system: str
    driver: str  # GPU driver
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
    """By which power of the length a target's costs grow; memory without the weights."""

    model: str
    latency: float
    macs: float
    memory: float | None


KINDS: dict[str, type] = {"cost": Row, "comparison": Comparison, "growth": Growth, "failure": Failure}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Everything that was measured."""

    machine: Machine
    conditions: Settings
    rows: list[Row]
    growth: list[Growth]
    failures: list[Failure]
    paper: Paper | None = None
    comparisons: Sequence[Comparison] = ()


@dataclass(frozen=True)
class Table:
    """A table to print."""

    title: str
    columns: list[str]
    rows: Sequence[Sequence[object]]


def tables(profile: Profile) -> list[Table]:
    """Return the tables worth printing, the costs first."""
    settings, paper = profile.conditions, profile.paper
    signal = settings.speech.name if settings.speech else "noise"
    conditions = f"{settings.device}, {settings.dtype}, batch {settings.batch}, {signal}" + (
        ", compiled" if settings.compile else ""
    )
    conditions += (
        f", {settings.rounds} processes for each model" if settings.rounds > 1 else ", a process for each model"
    )
    heading = f"{profile.machine}\n{conditions}"
    known = any(row.gflops for row in profile.rows)  # files of before do not say
    if peak := next((row.peak_gflops for row in profile.rows if row.peak_gflops), None):
        heading += f"; a large matrix product reaches {peak:.0f} GFLOP/s"
    found = [
        Table(
            heading,
            COSTS + (TRAINING if settings.train else []) + (ROOFLINE if known else []),
            [_cost(row, settings) + (_roofline(row) if known else []) for row in profile.rows],
        )
    ]
    if paper and profile.comparisons:
        relative = [f"published / {paper.reference}", f"measured / {paper.reference}"] if paper.reference else []
        columns = ["system", "audio s", "quantity", "published", "measured", "ratio", *relative, "", "why"]
        body = [_compared(comparison, paper) for comparison in profile.comparisons]
        found.append(Table(f"{paper.title}: {paper.protocol}", columns, body))
    if profile.growth:
        body = [[fit.model, fit.latency, fit.macs, fit.memory] for fit in profile.growth]
        heading = "power of the length by which costs grow (memory without the weights)"
        found.append(Table(heading, ["model", "latency", "MACs", "memory"], body))
    for row in profile.rows:
        if row.layers:
            body = [
                [layer.module, layer.kind, layer.calls, 1000 * layer.seconds, f"{layer.share:.0%}"]
                for layer in row.layers[:LAYERS]
            ]
            heading = f"layers of {row.model} at {row.seconds:g} s of audio, each without the modules that it calls"
            found.append(Table(heading, ["module", "class", "calls", "ms", "share"], body))
    body = [[row.model, row.seconds, " ".join(f"{s:.2f}" for s in row.running)] for row in profile.rows if row.running]
    if body:
        heading = f"share of tokens that run, step by step, on {signal}"
        found.append(Table(heading, ["model", "audio s", "running"], body))
    return found


def _cost(row: Row, settings: Settings) -> list[object]:
    giga = row.macs / 1e9
    cells = [row.model, row.seconds, row.parameters / 1e6, row.bytes / 1e6, giga, row.flops / 1e9, giga / row.seconds]
    cells += [*milliseconds(row.latency), row.real_time_factor, _mega(row.memory)]
    return cells + ([*milliseconds(row.training), _mega(row.training_memory)] if settings.train else [])


def _roofline(row: Row) -> list[object]:
    return [row.gflops, None if row.peak_share is None else f"{row.peak_share:.0%}"]


def _compared(comparison: Comparison, paper: Paper) -> list[object]:
    relative = (
        [comparison.claim or comparison.published_relative, comparison.measured_relative] if paper.reference else []
    )
    numbers = [comparison.published, comparison.measured, comparison.ratio, *relative]
    return [
        comparison.label,
        comparison.seconds,
        comparison.quantity,
        *numbers,
        "differs" if comparison.differs else "",
        comparison.why,
    ]


def milliseconds(timing: Timing | None) -> list[float | None]:
    """Return the median and what it lies between."""
    return [1000 * t for t in (timing.median, timing.low, timing.high)] if timing else [None] * 3


def _mega(size: int | None) -> float | None:
    return None if size is None else size / 1e6


def profile_lines(profile: Profile) -> Iterator[JsonDict]:
    """Yield everything as rows of plain values; ``kind`` says what each is."""
    speech = profile.conditions.speech
    conditions = asdict(profile.conditions) | {"speech": speech and speech.name, "trace": None}
    title = profile.paper.title if profile.paper else None
    yield {"kind": "machine"} | asdict(profile.machine) | {"conditions": conditions, "paper": title}
    for kind, found in zip(KINDS, (profile.rows, profile.comparisons, profile.growth, profile.failures), strict=True):
        yield from ({"kind": kind} | asdict(row) for row in found)


def check_outputs(out: Path | None, plot: Path | None, html: Path | None, trace: Path | None, *, force: bool) -> None:
    """Refuse files that could not be written after all the measuring, or, without ``force``, that are there."""
    if plot or html:
        figure_class()
    for path, suffixes in (
        (out, (".jsonl", ".csv")),
        (plot, (".png", ".svg")),
        (html, (".html",)),
        (trace, (".json",)),
    ):
        if path is None:
            continue
        if path.suffix not in suffixes:
            raise UsageError(f"{path} has to end in {' or '.join(suffixes)}")
        refuse_existing(path, force=force)
        make_folder(path.parent)


def write_profile(profile: Profile, *, out: Path | None, plot: Path | None, html: Path | None) -> None:
    """Write the files that were asked for."""
    if out is not None:
        with atomic_write(out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            if out.suffix == ".jsonl":
                file.writelines(json.dumps(line) + "\n" for line in profile_lines(profile))
            else:
                _write_csv(profile, file)
    if plot is not None:
        with atomic_write(plot) as partial:
            draw_profile(profile).savefig(partial, format=plot.suffix[1:], dpi=150)
    if html is not None:
        with atomic_write(html) as partial:
            partial.write_text(html_page(profile), encoding="utf-8")


def _write_csv(profile: Profile, file: TextIO) -> None:
    """Write what :func:`profile_lines` yields, with the columns of all kinds, and the machine on every line."""
    machine, *found = [_cells(line) for line in profile_lines(profile)]
    rows = [cells | machine | {"kind": cells["kind"]} for cells in found]
    writer = csv.DictWriter(file, dict.fromkeys(column for cells in rows for column in cells))
    writer.writeheader()
    writer.writerows(rows)


def _cells(line: JsonDict) -> JsonDict:
    cells: JsonDict = {}
    for key, value in line.items():
        if isinstance(value, dict):
            cells |= {f"{key}_{inner}": cell for inner, cell in value.items()}
        else:
            cells[key] = " ".join(map(_cell, value)) if isinstance(value, tuple) else value
    return cells


def _cell(value: object) -> str:
    return f"{value['module']}={value['share']:.4f}" if isinstance(value, dict) else str(value)


def html_page(profile: Profile) -> str:
    """Return an HTML page with the tables and the figures."""
    image = io.StringIO()
    draw_profile(profile).savefig(image, format="svg")
    drawing = image.getvalue()
    return render_template(
        TEMPLATE,
        "septool.profiling",
        title=profile.paper.title if profile.paper else "septool profile",
        convention=CONVENTION,
        tables=tables(profile),
        drawing=Markup(drawing[drawing.index("<svg") :]),
    )


def draw_profile(profile: Profile) -> "Figure":
    """Draw the figures of a profile."""
    return draw_costs(profile.rows, profile.paper.title if profile.paper else profile.machine.hardware)
