"""Wall-clock timing of calls, repeated until the median is known well."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from septool.profiling.records import MIN_REPEATS, Timing

SETTLED = 0.04  # width of what is said of a median, relative to it, at which repeating ends
ENOUGH_REPEATS = 6  # to be 95 % sure of what a median lies between
MAX_REPEATS = 1000


def time_call(
    call: Callable[[], object], device: torch.device, budget: float, min_repeats: int = MIN_REPEATS
) -> Timing:
    """Time a call until its median is known well or ``budget`` seconds are over."""
    return time_interleaved([call], device, budget, min_repeats)[0]


def time_interleaved(
    calls: Sequence[Callable[[], object]], device: torch.device, budget: float, min_repeats: int = MIN_REPEATS
) -> list[Timing]:
    """Time several calls, one after the other and again, so that what disturbs the machine disturbs all alike."""
    for call in calls:
        _time_once(call, device)  # kernels are chosen, tables built, pages mapped
    times: list[list[float]] = [[] for _ in calls]
    started = time.perf_counter()
    for repeats in range(MAX_REPEATS):
        over = time.perf_counter() - started >= budget
        if repeats >= min_repeats and (over or all(_settled(summarize_times(of_call)) for of_call in times)):
            break
        for call, of_call in zip(calls, times, strict=True):
            of_call.append(_time_once(call, device))
    return [summarize_times(of_call) for of_call in times]


def summarize_times(times: Sequence[float]) -> Timing:
    """Return the median of repeats, and the two of them that the true one lies between, whatever their distribution.

    Fewer than k of n repeats are below the true median with 2.5 % if k = n / 2 - 1.96 sqrt(n) / 2: they are coin
    tosses. The k-th from either end are the ones, or the extremes where that is none.
    """
    ordered = sorted(times)
    rank = max(int((len(ordered) - 1.96 * len(ordered) ** 0.5) / 2), 1)
    return Timing(statistics.median(ordered), ordered[rank - 1], ordered[-rank], len(ordered))


def _settled(timing: Timing) -> bool:
    return timing.repeats >= ENOUGH_REPEATS and timing.high - timing.low < SETTLED * timing.median


def _time_once(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    before = time.perf_counter()
    call()
    if device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - before
