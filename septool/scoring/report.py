"""The HTML report of an evaluation: summaries, distributions, and the worst items with players."""

import base64
import io
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from septool import audio
from septool.atomic import atomic_write
from septool.config import JsonDict
from septool.errors import SeptoolError
from septool.files import make_folder
from septool.metrics import METRICS
from septool.printable import printable
from septool.reports.pages import render_template
from septool.reports.spectrograms import spectrogram_png
from septool.scoring.items import Item, ScoringInput
from septool.scoring.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WORST = 10
LONGEST_S = 10.0  # longest sound in the report
PEAK = 0.9
SHOWN = 50  # items that failed, by name

Load = Callable[[Sequence[str]], Iterable[ScoringInput]]  # the signals of items, by their ids
COLUMNS = ("metric", "mean", "95 % from", "to", "5th pct", "median", "95th pct", "count", "undefined", "failed")


class Figure(NamedTuple):
    """A sound and its spectrogram."""

    caption: str
    png: str  # in base64, as the next
    sound: str


class Chart(NamedTuple):
    """A picture of many scores."""

    caption: str
    png: str


def write_evaluation_report(
    html: Path,
    title: str,
    items: Sequence[Item],
    summaries: Sequence[Summary],
    *,
    facts: Mapping[str, str],
    load: Load,
) -> None:
    """Write the report, whole or not at all.

    Args:
        html: the file.
        title: what was scored.
        items: all of them.
        summaries: of the metrics; the worst items are those of the first.
        facts: definitions, versions and sums, by their names.
        load: makes the signals of the worst items.
    """
    failed = [printable(f"{item.id}: {item.error}") for item in items if item.error]
    text = render_template(
        "evaluation.html.j2",
        "septool.scoring",
        title=printable(title),
        columns=list(COLUMNS),
        summaries=[_cells(summary) for summary in summaries if summary.group is None],
        groups=_group_table(summaries),
        facts=facts,
        reasons=[
            printable(f"{summary.metric}: {count} undefined, {reason}")
            for summary in summaries
            for reason, count in summary.reasons.items()
        ],
        charts=_charts(items),
        worst=_worst_sections(items, summaries, load),
        failed=failed[:SHOWN] + ([f"and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []),
    )
    make_folder(html.parent)
    with atomic_write(html) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")


def worst_items(items: Sequence[Item], metric: str) -> list[Item]:
    """Return the items whose mean over their voices is worst, the worst first."""
    sign = 1 if metric not in METRICS or METRICS[metric].better == "higher" else -1
    means = []
    for item in items:
        values = [value for value in item.scores.get(metric, ()) if value is not None]
        if values:
            means.append((sign * float(np.mean(values)), item.id, item))
    return [item for *_, item in sorted(means, key=lambda ranked: ranked[:2])[:WORST]]


def _cells(summary: Summary) -> list[str]:
    numbers = (summary.mean, summary.low, summary.high, summary.fifth, summary.median, summary.ninety_fifth)
    return [
        _name(summary),
        *("-" if math.isnan(number) else f"{number:.2f}" for number in numbers),
        *map(str, (summary.count, summary.undefined, summary.failed)),
    ]


def _name(summary: Summary) -> str:
    return f"{summary.metric}, {summary.unit}" if summary.unit else summary.metric


def _group_table(summaries: Sequence[Summary]) -> list[list[str]]:
    """Return a line for each group, with the mean of every metric and its interval; names of columns come first."""
    groups: dict[str, dict[str, Summary]] = {}
    for summary in summaries:
        if summary.group is not None:
            groups.setdefault(summary.group, {})[_name(summary)] = summary
    names = list(dict.fromkeys(name for summaries in groups.values() for name in summaries))
    lines = [["group", "voices", *names]] if groups else []
    for group, of_names in groups.items():
        counts = {summary.count + summary.undefined for summary in of_names.values()}
        lines.append([printable(group), str(max(counts)), *(_mean(of_names.get(name)) for name in names)])
    return lines


def _mean(summary: Summary | None) -> str:
    if summary is None or math.isnan(summary.mean):
        return "-"
    interval = "" if math.isnan(summary.low) else f"\n{summary.low:.2f} to {summary.high:.2f}"
    return f"{summary.mean:.2f}{interval}"


def _charts(items: Sequence[Item]) -> list[Chart]:
    """Draw a histogram of every metric, and where it is known how good the estimates are by how bad the mixtures."""
    from matplotlib.figure import Figure as Canvas

    charts = []
    values: dict[str, list[float]] = {}
    for item in items:
        for name, scores in item.scores.items():
            values.setdefault(name, []).extend(value for value in scores if value is not None)
    for name, every in values.items():
        if not every:
            continue
        canvas = Canvas(figsize=(9, 2.4), layout="constrained")
        axes = canvas.subplots()
        axes.hist(every, bins=min(40, max(5, len(every) // 4)))
        axes.set_xlabel(f"{name}, {METRICS[name].unit}" if METRICS[name].unit else name)
        axes.set_ylabel("voices")
        charts.append(Chart(f"{name} of {len(every)} voices", _png(canvas)))
    pairs = [
        (after - gain, after)
        for item in items
        for after, gain in zip(item.scores.get("si-snr", ()), item.scores.get("si-snri", ()), strict=False)
        if after is not None and gain is not None
    ]
    if pairs:
        canvas = Canvas(figsize=(9, 4.5), layout="constrained")
        axes = canvas.subplots()
        before, after = np.array(pairs).T
        axes.scatter(before, after, s=10, alpha=0.6)
        ends = [before.min(), before.max()]
        axes.plot(ends, ends, color="0.5", linewidth=1)
        axes.set_xlabel("SI-SNR of the mixture, dB")
        axes.set_ylabel("SI-SNR of the estimate, dB")
        charts.append(Chart("output against input; below the line an estimate is worse than the mixture", _png(canvas)))
    return charts


def _png(canvas: "Canvas") -> str:
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=110)
    return base64.b64encode(image.getvalue()).decode()


def _worst_sections(items: Sequence[Item], summaries: Sequence[Summary], load: Load) -> list[JsonDict]:
    metric = next((summary.metric for summary in summaries if summary.metric in METRICS and summary.count), None)
    if metric is None:
        return []
    chosen = worst_items(items, metric)
    rate = next((summary.sample_rate for summary in summaries if summary.sample_rate), None)
    signals = {loaded.id: loaded for loaded in load([item.id for item in chosen])} if rate else {}
    sections = []
    for rank, item in enumerate(chosen, 1):
        scores = ", ".join("-" if value is None else f"{value:.2f}" for value in item.scores[metric])
        section = {"title": printable(f"Worst {rank}: {item.id}, {metric} {scores}"), "error": "", "figures": []}
        of_item = signals.get(item.id)
        if of_item is not None and rate:
            try:
                section["figures"] = _figures(item, of_item, rate)
            except SeptoolError as error:
                section["error"] = printable(str(error))
        sections.append(section)
    return sections


def _figures(item: Item, signals: ScoringInput, rate: int) -> list[Figure]:
    """Encode the mixture, the references and the estimates; one gain for all keeps their levels."""
    if signals.error:
        raise SeptoolError(signals.error)
    tracks = [] if signals.mixture is None else [("mixture", signals.mixture)]
    for number, (reference, index) in enumerate(zip(signals.references, item.order, strict=True), 1):
        tracks += [(f"reference {number}", reference), (f"estimate of reference {number}", signals.estimates[index])]
    peak = max((float(np.abs(samples).max(initial=0)) for _, samples in tracks), default=0.0)
    gain = min(1.0, PEAK / peak) if peak else 1.0
    figures = []
    with tempfile.TemporaryDirectory(prefix="septool-") as folder:
        wav, flac = Path(folder) / "sound.wav", Path(folder) / "sound.flac"  # one to jump about in, one that is small
        for caption, samples in tracks:
            cut = samples[: round(LONGEST_S * rate)]
            seconds = len(samples) / rate
            whole = "" if len(cut) == len(samples) else f", the first {LONGEST_S:g} s of {seconds:.1f} s"
            for path in (wav, flac):
                audio.write_audio(path, (gain * cut).astype(np.float32), rate)
            png, sound = (base64.b64encode(data).decode() for data in (spectrogram_png(wav), flac.read_bytes()))
            figures.append(Figure(f"{caption}: {len(cut) / rate:.1f} s, {rate} Hz{whole}", png, sound))
    return figures
