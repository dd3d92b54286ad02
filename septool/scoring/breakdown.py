"""Groups of a manifest's rows that scores are broken down by, from what the rows themselves say."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from septool.data.manifest import Mixture
from septool.errors import UsageError
from septool.registry import suggest
from septool.scoring.items import Item
from septool.scoring.summary import Summary, summarize_items

GAINS_DB = (1.0, 2.5, 5.0)  # borders between groups of level differences


def _sexes(row: Mixture) -> str | None:
    genders = [source.gender for source in row.sources]
    return None if None in genders else "+".join(sorted(gender for gender in genders if gender))


def _gain_difference(row: Mixture) -> str | None:
    gains = [source.gain_db for source in row.sources]
    if len(gains) < 2:
        return None
    difference = max(gains) - min(gains)
    for lowest, border in zip((0.0, *GAINS_DB), GAINS_DB, strict=False):
        if difference < border:
            return f"{lowest:g} to {border:g} dB"
    return f"{GAINS_DB[-1]:g} dB and more"


def _noise(row: Mixture) -> str:
    return "without" if row.noise is None else "with"


def _sources(row: Mixture) -> str:
    return str(len(row.sources))


GROUPS: dict[str, Callable[[Mixture], str | None]] = {
    "sex": _sexes,
    "gain-difference": _gain_difference,  # between the loudest and the softest source, as the manifest has it
    "noise": _noise,
    "sources": _sources,
}


def parse_groups(names: str) -> list[str]:
    """Split and check a list of groups such as ``sex,noise``."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
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
        for group in sorted(members):
            label = f"{name} {group}"
            summaries += [replace(each, group=label) for each in summarize_items(members[group], metrics)]
    return summaries
