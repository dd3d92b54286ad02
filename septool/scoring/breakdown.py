"""Breaking scores down by groups of a manifest's rows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from septool.data.manifest import Mixture
from septool.data.mixing import mixture_seconds, render_mixture
from septool.errors import AudioError, SeptoolError, UsageError
from septool.registry import suggest
from septool.scoring.items import Item
from septool.scoring.summary import Summary, summarize_items

FORMER = {"gain-difference": "level-difference"}  # names of groups
# Borders between groups.
LEVELS_DB, SECONDS, OVERLAP_PERCENT = (1.0, 2.5, 5.0), (2.0, 5.0, 10.0, 20.0), (25.0, 50.0, 75.0)


@dataclass(frozen=True)
class _Described:
    """A row that is to be grouped; it is rendered once, whatever it is grouped by."""

    row: Mixture

    @cached_property
    def voices(self) -> np.ndarray | None:
        """The voices as rendered, ``[source, time]``; None where they cannot be, which the scores report."""
        try:
            return render_mixture(self.row).sources
        except SeptoolError:
            return None


def _sexes(of: _Described) -> str | None:
    genders = [source.gender for source in of.row.sources]
    return None if None in genders else "+".join(sorted(gender for gender in genders if gender))


def _level_difference(of: _Described) -> str | None:
    """Group by how much louder the loudest voice is than the softest, as rendered: gains level recordings, too."""
    if len(of.row.sources) < 2 or of.voices is None:
        return None
    energies = np.square(of.voices, dtype=np.float64).sum(-1)
    if not energies.all():
        return None
    return _group_of(10 * math.log10(energies.max() / energies.min()), LEVELS_DB, "dB")


def _length(of: _Described) -> str | None:
    try:
        return _group_of(mixture_seconds(of.row), SECONDS, "s")
    except AudioError:
        return None


def _overlap(of: _Described) -> str | None:
    """Group by the share of the mixture in which two voices or more are between their first and last sample.

    Samples of zero before and after a voice are no part of it: files of mixtures that were padded hold them.
    """
    if len(of.row.sources) < 2 or of.voices is None:
        return None
    at_once = np.zeros(of.voices.shape[1], dtype=int)
    for voice in of.voices:
        (sounding,) = voice.nonzero()
        if len(sounding):
            at_once[sounding[0] : sounding[-1] + 1] += 1
    return _group_of(100 * float(np.mean(at_once > 1)), OVERLAP_PERCENT, "%")


def _group_of(value: float, borders: Sequence[float], unit: str) -> str:
    for lowest, border in zip((0.0, *borders), borders, strict=False):
        if value < border:
            return f"{lowest:g} to {border:g} {unit}"
    return f"{borders[-1]:g} {unit} and more"


def _by_number(group: str) -> tuple[float, str]:
    first = group.partition(" ")[0]
    return (float(first) if first.replace(".", "", 1).isdecimal() else 0.0, group)


def _noise(of: _Described) -> str:
    return "without" if of.row.noise is None else "with"


def _room(of: _Described) -> str | None:
    return of.row.room


def _sources(of: _Described) -> str:
    return str(len(of.row.sources))


GROUPS: dict[str, Callable[[_Described], str | None]] = {
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
    members: dict[str, dict[str, list[Item]]] = {name: {} for name in groups}
    for item in items:
        described = _Described(row_of[item.id])
        for name in groups:
            members[name].setdefault(GROUPS[name](described) or "unknown", []).append(item)
    return [
        replace(summary, group=f"{name} {group}")
        for name in groups
        for group in sorted(members[name], key=_by_number)
        for summary in summarize_items(members[name][group], metrics)
    ]
