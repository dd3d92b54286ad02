"""Measuring in fresh processes that take turns.

Two processes that do the same differ by more than the repeats within either: their pages lie elsewhere, and a shared
machine is faster now than in a minute. So every subject is measured in several, one round of all subjects after the
other, and a time stands between what processes say, not between repeats in one of them.
"""

import signal
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection

from septool.profiling.measure import Conditions, Failed, Row, Subject, Timing, measure, summary


def measure_in_rounds(
    subjects: Sequence[Subject],
    lengths: Sequence[float],
    how: Conditions,
    report: Callable[[int, int, str], None] = lambda *_: None,
) -> tuple[list[Row], list[Failed]]:
    """Measure every subject at every length, in ``how.rounds`` processes each.

    A length, or training, that fails in a process is tried in no later one; a row is of those it went well in.

    Args:
        subjects: what to measure.
        lengths: of the recordings, in seconds.
        how: the conditions; what they ask for besides times is done in the first round.
        report: called with the number of processes that have ended, of how many, and the next one's subject.
    """
    rows: dict[tuple[int, float], list[Row]] = {}
    failures: dict[tuple[int, float | None], Failed] = {}
    left = [tuple(lengths)] * len(subjects)
    trained = [how.train] * len(subjects)
    for turn in range(how.rounds):
        for number, subject in enumerate(subjects):
            if not left[number]:
                continue
            report(turn * len(subjects) + number, how.rounds * len(subjects), subject.name)
            well: dict[float, Row] = {}
            for result in measure_apart(subject, left[number], replace(how, train=trained[number])):
                if isinstance(result, Row):
                    well[result.seconds] = result
                    continue
                failures.setdefault((number, result.seconds), result)
                if result.seconds in well or len(well) == len(left[number]):  # the forward pass was well
                    trained[number] = False
            for seconds, row in well.items():
                rows.setdefault((number, seconds), []).append(row)
            left[number] = tuple(seconds for seconds in left[number] if seconds in well)
        how = replace(how, trace=None, nvtx=False)
    report(how.rounds * len(subjects), how.rounds * len(subjects), "")
    return [_together(rows[place], how) for place in sorted(rows)], list(failures.values())


def _together(rows: Sequence[Row], how: Conditions) -> Row:
    """Join what processes say of one subject at one length."""
    latency = among([row.latency for row in rows])
    trained = [row.training for row in rows if row.training]
    return replace(
        rows[0],
        latency=latency,
        real_time_factor=latency.median / (rows[0].seconds * how.batch),
        memory=_median([row.memory for row in rows]),
        training=among(trained) if trained else None,
        training_memory=_median([row.training_memory for row in rows]),
    )


def among(timings: Sequence[Timing]) -> Timing:
    """Join the times of processes: of several, the median of medians and what that lies between."""
    if len(timings) == 1:
        return timings[0]
    joined = summary([timing.median for timing in timings])
    return replace(joined, repeats=sum(timing.repeats for timing in timings), processes=len(timings))


def _median(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return statistics.median_high(known) if known else None


def measure_apart(subject: Subject, lengths: Sequence[float], how: Conditions) -> Iterator[Row | Failed]:
    """Measure in a fresh process, which leaves nothing behind that the next subject would be charged for.

    What it had measured when it was killed is not lost.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_and_send, args=(sender, subject, lengths, how), daemon=True)
    process.start()
    sender.close()
    try:
        while (result := receiver.recv()) is not None:
            yield result
    except EOFError:
        process.join()
        why = f"its process ended with status {process.exitcode}"
        hint = "; the system kills what needs too much memory" if process.exitcode == -signal.SIGKILL else ""
        yield Failed(subject.name, None, why + hint)
    finally:
        process.kill()
        process.join()


def _measure_and_send(sender: Connection, subject: Subject, lengths: Sequence[float], how: Conditions) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too and ends this process
    for result in measure(subject, lengths, how):
        sender.send(result)
    sender.send(None)
