"""The metrics, a line each: name, function, unit, direction."""

from dataclasses import dataclass
from typing import Literal

from septool.registry import Registry


class UndefinedError(ValueError):
    """A metric has no value here, and why; it is counted apart and never becomes a number."""


@dataclass(frozen=True)
class Metric:
    """What a metric is; ``improvement`` says it is the gain over the unprocessed mixture."""

    name: str
    base: str  # name of the function in FUNCTIONS
    unit: str
    better: Literal["higher", "lower"] = "higher"
    improvement: bool = False

    @property
    def key(self) -> str:
        """The name as a key in logs and headers."""
        return self.name.replace("-", "_")


# Each takes (estimate=, reference=, rate=) as float64 arrays [time] and returns one number or raises
# UndefinedError.
FUNCTIONS = Registry(
    "metric",
    {
        "si-snr": "septool.metrics.si_snr:si_snr_item",
        "sdr": "septool.metrics.sdr:sdr_item",
        "pesq": "septool.metrics.pesq:pesq_item",
        "stoi": "septool.metrics.stoi:stoi_item",
        "estoi": "septool.metrics.stoi:estoi_item",
    },
)

METRICS = {
    metric.name: metric
    for metric in (
        Metric("si-snr", "si-snr", "dB"),
        Metric("si-snri", "si-snr", "dB", improvement=True),
        Metric("si-sdr", "si-snr", "dB"),  # of zero-mean signals, which is the same
        Metric("si-sdri", "si-snr", "dB", improvement=True),
        Metric("sdr", "sdr", "dB"),
        Metric("sdri", "sdr", "dB", improvement=True),
        Metric("pesq", "pesq", "MOS"),
        Metric("stoi", "stoi", ""),
        Metric("estoi", "estoi", ""),
    )
}

# What else they are called, "_" read as "-".
ALIASES = {name.replace("-", ""): name for name in METRICS if "-" in name}
