"""Renders the files in benchmarks/results as one page; ``tools/generate.py`` writes it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from septool.config import JsonDict, build
from septool.profiling import papers, report
from septool.profiling.comparison import TOLERANCE, Comparison
from septool.profiling.records import Settings
from septool.profiling.report import CONVENTION, Machine, Profile, Table

HEAD = f"""# Results

Written by `make generate` from the files in `benchmarks/results`, one folder for each kind of device, which
`make bench` measures. {CONVENTION} "Differs" marks a ratio to the reference system that is more than
{TOLERANCE:.0%} off the published one.
"""


def page(folder: Path) -> str:
    """Return the page."""
    parts = [HEAD]
    for device in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = sorted(device.glob("*.jsonl"), key=lambda path: (path.stem not in papers.paper_names(), path.stem))
        parts.append(f"# {device.name}\n")
        for path in paths:
            parts += _paper(_profile(path)) if path.stem in papers.paper_names() else _comparison(path)
    return "\n".join(parts)


def _profile(path: Path) -> Profile:
    return replace(read_profile(path), paper=papers.read_paper(path.stem))


def read_profile(path: Path) -> Profile:
    """Read what :func:`septool.profiling.report.write_profile` wrote as JSON lines, all but the paper's own table."""
    found: dict[str, list[Any]] = {"machine": []} | {kind: [] for kind in report.KINDS}
    conditions: JsonDict = {}
    for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        kind = line.pop("kind")
        if kind == "machine":
            conditions, _ = line.pop("conditions"), line.pop("paper")
        found[kind].append(build(report.KINDS.get(kind, Machine), line))
    speech = conditions.pop("speech")
    return Profile(
        machine=found["machine"][0],
        conditions=build(Settings, conditions | {"speech": speech and Path(speech)}),
        rows=found["cost"],
        growth=found["growth"],
        failures=found["failure"],
        comparisons=found["comparison"],
    )


def _paper(profile: Profile) -> Iterator[str]:
    assert profile.paper
    yield f"## {profile.paper.title}\n"
    costs, *others = report.tables(profile)
    for table in (*others, costs):
        yield markdown(table)
        if profile.comparisons and table is others[0]:
            yield from (f"{sentence}\n" for sentence in order(profile.comparisons))
    yield from (f"Not measured: {failed.model}: {failed.error}\n" for failed in profile.failures)


def _comparison(path: Path) -> Iterator[str]:
    """Yield a section for rows that are their own columns."""
    first, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    del first["kind"]
    yield f"## {first.pop('title')}\n\n{first.pop('about')}\n"
    columns = list(dict.fromkeys(column for row in rows for column in row if column != "kind"))
    yield markdown(Table(str(Machine(**first)), columns, [[row.get(column) for column in columns] for row in rows]))


def order(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Say for every quantity how many pairs of systems come in the published order.

    Pairs that were published as equal within the tolerance have no order.
    """
    for quantity in dict.fromkeys(row.quantity for row in comparisons if row.published_relative is not None):
        known = [row for row in comparisons if row.quantity == quantity and row.published is not None]
        pairs = [
            (a, b)
            for a, b in combinations(known, 2)
            if a.seconds == b.seconds and _ratio(a.published, b.published) > 1 + TOLERANCE
        ]
        kept = sum((a.published < b.published) == (a.measured < b.measured) for a, b in pairs)  # type: ignore[operator]
        if pairs:
            yield f"Of {len(pairs)} pairs of systems, {kept} come in the published order by {quantity}."


def _ratio(a: float | None, b: float | None) -> float:
    return 0.0 if not a or not b else max(a / b, b / a)


def markdown(table: Table) -> str:
    """Return a table with its title as a paragraph."""
    lines = [table.columns, ["---"] * len(table.columns), *([_cell(value) for value in row] for row in table.rows)]
    return f"{table.title}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 0.005 else f"{value:.2f}"
    return "-" if value is None else str(value).replace("|", "\\|")
