"""Figures of a profile: time and memory against length, and SI-SNRi against costs."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from septool.config import JsonDict
from septool.errors import UsageError
from septool.profiling.records import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MARKS = "osD^v"  # after ten colors, the next mark


def figure_class() -> type["Figure"]:
    """Return matplotlib's class of figures.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("figures need matplotlib; install it with: pip install 'septool[plot]'") from None
    return Figure


def draw_costs(costs: Sequence[Row], title: str) -> "Figure":
    """Draw time and memory against length, one line a model, and SI-SNRi against costs where it is known."""
    models = list(dict.fromkeys(row.model for row in costs))
    scored = any(row.quality is not None for row in costs)
    figure = figure_class()(figsize=(11, 8 if scored else 4.2), layout="constrained")
    panels: list[Axes] = list(figure.subplots(2 if scored else 1, 2).flat)
    for index, model in enumerate(models):
        rows = [row for row in costs if row.model == model]
        color = f"C{index % 10}"
        look: JsonDict = {"color": color, "marker": MARKS[index // 10 % len(MARKS)]}
        panels[0].plot([r.seconds for r in rows], [1000 * r.latency.median for r in rows], label=model, **look)
        known = [(row.seconds, row.memory / 1e6) for row in rows if row.memory]
        if known:  # what a small model needs beyond its process can be nothing
            panels[1].plot([seconds for seconds, _ in known], [memory for _, memory in known], **look)
        last = max(rows, key=lambda row: row.seconds)
        if last.quality is not None:
            look |= {"linestyle": "", "markerfacecolor": "none" if last.quality_from == "measured" else color}
            panels[2].plot(last.real_time_factor, last.quality, **look)
            panels[3].plot(last.macs / 1e9 / last.seconds, last.quality, **look)
    for panel, label in zip(panels[:2], ("latency, ms", "memory, MB"), strict=True):
        panel.set(xlabel="audio, s", ylabel=label)
        if panel.has_data():
            panel.set(xscale="log", yscale="log")
            _plain_ticks(panel.yaxis)
            _plain_ticks(panel.xaxis)
    for panel, label in zip(panels[2:], ("seconds for one of audio", "GMACs for one second of audio"), strict=False):
        hollow = any(row.quality_from == "measured" for row in costs)
        panel.set(xscale="log", xlabel=label, ylabel="SI-SNRi, dB" + " (hollow: measured here)" * hollow)
        _plain_ticks(panel.xaxis)
    for panel in panels:
        panel.grid(visible=True, color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
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
