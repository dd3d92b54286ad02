"""Measuring in fresh processes, interleaved.

Two processes that do the same differ by more than the repeats within either: their pages lie elsewhere, and a shared
machine is faster now than in a minute. So every target is measured in several, one round of all targets after the
other, and a time stands between what processes say, not between repeats in one of them.
"""

import math
import signal
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from septool.profiling.measure import Target, autocast, measure
from septool.profiling.records import Failure, Peak, Row, Settings, Timing
from septool.profiling.roofline import product_gflops
from septool.profiling.timing import summarize_times


def measure_in_rounds(
    targets: Sequence[Target],
    lengths: Sequence[float],
    settings: Settings,
    report: Callable[[int, int, str], None] = lambda *_: None,
) -> tuple[list[Row], list[Failure]]:
    """Measure every target at every length, in ``settings.rounds`` processes each.

    A length, or training, that fails in a process is tried in no later one; a row is of those it went well in.

    Args:
        targets: what to measure.
        lengths: of the recordings, in seconds.
        settings: the conditions; what they ask for besides times is done in the first round.
        report: called with the number of processes that have ended, of how many, and the next one's target.
    """
    rows: dict[tuple[int, float], list[Row]] = {}
    failures: dict[tuple[int, float | None], Failure] = {}
    peaks: list[float] = []
    left = [tuple(lengths)] * len(targets)
    trained = [settings.train] * len(targets)
    for turn in range(settings.rounds):
        for number, target in enumerate(targets):
            if not left[number]:
                continue
            report(turn * len(targets) + number, settings.rounds * len(targets), target.name)
            well: dict[float, Row] = {}
            for result in measure_isolated(target, left[number], replace(settings, train=trained[number])):
                if isinstance(result, Peak):
                    peaks.append(result.gflops)
                    continue
                if isinstance(result, Row):
                    well[result.seconds] = result
                    continue
                failures.setdefault((number, result.seconds), result)
                if result.seconds in well or len(well) == len(left[number]):  # the forward pass was well
                    trained[number] = False
            for seconds, row in well.items():
                rows.setdefault((number, seconds), []).append(row)
            left[number] = tuple(seconds for seconds in left[number] if seconds in well)
        settings = replace(settings, trace=None, nvtx=False, by_layer=False)
    report(settings.rounds * len(targets), settings.rounds * len(targets), "")
    peak = statistics.median(peaks) if peaks else None
    return [_combine_rows(rows[index], settings, peak) for index in sorted(rows)], list(failures.values())


def _combine_rows(rows: Sequence[Row], settings: Settings, peak: float | None) -> Row:
    """Join what processes say of one target at one length, and of what the machine reaches, in GFLOP/s."""
    latency = combine([row.latency for row in rows])
    trained = [row.training for row in rows if row.training]
    return replace(
        rows[0],
        latency=latency,
        real_time_factor=latency.median / (rows[0].seconds * settings.batch),
        memory=_median([row.memory for row in rows]),
        training=combine(trained) if trained else None,
        training_memory=_median([row.training_memory for row in rows]),
        gflops=rows[0].flops * settings.batch / latency.median / 1e9,
        peak_gflops=peak,
    )


def combine(timings: Sequence[Timing]) -> Timing:
    """Join the times of processes: of several, the median of medians and what that lies between."""
    if len(timings) == 1:
        return timings[0]
    joined = summarize_times([timing.median for timing in timings])
    return replace(joined, repeats=sum(timing.repeats for timing in timings), processes=len(timings))


def _median(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return statistics.median_high(known) if known else None


def measure_isolated(target: Target, lengths: Sequence[float], settings: Settings) -> Iterator[Row | Failure | Peak]:
    """Measure in a fresh process, which leaves nothing behind that the next target would be charged for.

    What it had measured when it was killed is not lost.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_and_send, args=(sender, target, lengths, settings), daemon=True)
    process.start()
    sender.close()
    try:
        while (result := receiver.recv()) is not None:
            yield result
    except EOFError:
        process.join()
        why = f"its process ended with status {process.exitcode}"
        was_killed = process.exitcode == -getattr(signal, "SIGKILL", math.inf)  # which Windows does not have
        hint = "; the system kills what needs too much memory" if was_killed else ""
        yield Failure(target.name, None, why + hint)
    finally:
        process.kill()
        process.join()


def _measure_and_send(sender: Connection, target: Target, lengths: Sequence[float], settings: Settings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too and ends this process
    for result in measure(target, lengths, settings):
        sender.send(result)
    with suppress(RuntimeError), autocast(settings):  # last, so that its memory is nobody's; a GPU may have none left
        sender.send(Peak(product_gflops(torch.device(settings.device))))
    sender.send(None)
