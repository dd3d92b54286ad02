"""Breaking scores down by groups of a manifest's rows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from septool.data.manifest import Mixture
from septool.data.mixing import render_mixture, source_seconds
from septool.errors import AudioError, SeptoolError, UsageError
from septool.registry import suggest
from septool.scoring.items import Item
from septool.scoring.summary import Summary, summarize_items

FORMER = {"gain-difference": "level-difference"}  # names of groups
# Borders between groups.
LEVELS_DB, SECONDS, OVERLAP_PERCENT = (1.0, 2.5, 5.0), (2.0, 5.0, 10.0, 20.0), (25.0, 50.0, 75.0)


def _sexes(row: Mixture) -> str | None:
    genders = [source.gender for source in row.sources]
    return None if None in genders else "+".join(sorted(gender for gender in genders if gender))


def _level_difference(row: Mixture) -> str | None:
    """Group by how much louder the loudest voice is than the softest, as rendered: gains level recordings, too."""
    if len(row.sources) < 2:
        return None
    try:
        energies = np.square(render_mixture(row).sources, dtype=np.float64).sum(-1)
    except SeptoolError:  # told where the row is scored
        return None
    if not energies.all():
        return None
    return _group_of(10 * math.log10(energies.max() / energies.min()), LEVELS_DB, "dB")


def _length(row: Mixture) -> str | None:
    if row.frames is not None:
        return _group_of(row.frames / row.sample_rate, SECONDS, "s")
    seconds = _seconds_of(row)
    return _group_of(max(seconds) if row.mode == "max" else min(seconds), SECONDS, "s") if seconds else None


def _overlap(row: Mixture) -> str | None:
    """Group by the share of the mixture in which two voices or more are, all of which begin with it."""
    seconds = sorted(_seconds_of(row))
    if len(seconds) < 2:
        return None
    share = seconds[-2] / seconds[-1] if row.mode == "max" and seconds[-1] else 1.0
    return _group_of(100 * share, OVERLAP_PERCENT, "%")


def _seconds_of(row: Mixture) -> list[float]:
    """Return how long each source is; none where a file cannot be read."""
    try:
        return source_seconds(row)
    except AudioError:
        return []


def _group_of(value: float, borders: Sequence[float], unit: str) -> str:
    for lowest, border in zip((0.0, *borders), borders, strict=False):
        if value < border:
            return f"{lowest:g} to {border:g} {unit}"
    return f"{borders[-1]:g} {unit} and more"


def _by_number(group: str) -> tuple[float, str]:
    first = group.partition(" ")[0]
    return (float(first) if first.replace(".", "", 1).isdecimal() else 0.0, group)


def _noise(row: Mixture) -> str:
    return "without" if row.noise is None else "with"


def _room(row: Mixture) -> str | None:
    return row.room


def _sources(row: Mixture) -> str:
    return str(len(row.sources))


GROUPS: dict[str, Callable[[Mixture], str | None]] = {
    "sex": _sexes,
    "level-difference": _level_difference,
    "length": _length,
    "overlap": _overlap,
    "noise": _noise,
    "room": _room,
    "sources": _sources,
}


def parse_groups(names: str) -> list[str]:
    """Split and check a list of groups such as ``sex,noise``."""
    given = [name.strip() for name in names.split(",") if name.strip()]
    chosen = [FORMER.get(name, name) for name in given]
    for name in chosen:
        if name not in GROUPS:
            raise suggest("group", name, GROUPS)
    if not chosen:
        raise UsageError(f"--by names no group; choose from {', '.join(GROUPS)}")
    return list(dict.fromkeys(chosen))


def summarize_groups(
    items: Sequence[Item], rows: Sequence[Mixture], metrics: Sequence[str], groups: Sequence[str]
) -> list[Summary]:
    """Summarize every metric over every group, in the order of groups; rows that do not say belong to ``unknown``."""
    row_of = {row.id: row for row in rows}
    summaries = []
    for name in groups:
        members: dict[str, list[Item]] = {}
        for item in items:
            members.setdefault(GROUPS[name](row_of[item.id]) or "unknown", []).append(item)
        for group in sorted(members, key=_by_number):
            label = f"{name} {group}"
            summaries += [replace(each, group=label) for each in summarize_items(members[group], metrics)]
    return summaries
