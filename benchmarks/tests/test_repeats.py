"""What benchmarks/repeats.py calls agreement."""

import pytest

from benchmarks.repeats import compared
from septool.profiling.records import Row, Timing


@pytest.mark.parametrize(
    ("low", "high", "agree"),
    [(0.9, 1.1, "yes"), (1.1, 1.3, "yes"), (1.21, 1.3, "no"), (0.5, 0.79, "no"), (0.5, 0.8, "yes")],
)
def test_runs_agree_where_what_they_state_overlaps(low: float, high: float, agree: str) -> None:
    rest = {"parameters": 1, "bytes": 1, "macs": 1, "flops": 2, "real_time_factor": 1.0, "memory": None}
    first = Row(model="a", seconds=1.0, latency=Timing(1.0, 0.8, 1.2, 5, 5), **rest)
    second = Row(model="a", seconds=1.0, latency=Timing((low + high) / 2, low, high, 5, 5), **rest)
    assert compared(first, second)["agree"] == compared(second, first)["agree"] == agree
    assert compared(first, second)["apart, %"] == pytest.approx(compared(second, first)["apart, %"])
