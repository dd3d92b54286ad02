"""Running a batch, sequentially or in several processes; a failed recording does not stop the others."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from septool import workers
from septool.atomic import is_pending, recover
from septool.cluster import spread, worker_number
from septool.device import choose_device, enough_memory
from septool.errors import InterruptedBySignal, SeptoolError, UsageError
from septool.files import make_folder
from septool.inference import html_report
from septool.inference.accelerators import accelerator_of
from septool.inference.batch import Batch
from septool.inference.findings import Caveat, CaveatKind, report_caveats
from septool.inference.level import ArrayEstimator
from septool.inference.live import describe_latency, estimate_stream
from septool.inference.outcomes import Completed, Failed, Skipped
from septool.inference.output_folder import claim, clear_remains, record_outputs
from septool.inference.paths import PIPE, Job, check_reader, copy_to_stdout
from septool.inference.record import Digests, Record
from septool.inference.stdin import open_stdin, stdin_as_file
from septool.inference.streaming import FileEstimate, estimate_file
from septool.printable import printable

FindWritten = Callable[[Job], Sequence[Path] | None]
Done = TypeVar("Done")


@dataclass
class Task:
    """A job in progress."""

    batch: Batch
    job: Job
    local_path: Path  # file of the recording; a temporary one if it comes from a pipe
    targets: Sequence[Path]
    findings: list[Caveat] = field(default_factory=list)
    interrupted: InterruptedBySignal | None = None  # signal that ended a live recording

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs as reported to the user."""
        return (PIPE,) if self.batch.out == PIPE else tuple(map(str, self.targets))

    def progress(self, done: float, total: float) -> None:
        """Report the seconds done of the recording, unless several processes work in parallel.

        Raises:
            BrokenPipeError: the voices go to a pipe whose reader has closed it.
        """
        if self.batch.out == PIPE:
            check_reader()
        if self.batch.jobs == 1:
            self.batch.progress(self.job.display_name, done, total)

    def estimate(
        self, estimate: ArrayEstimator, *, voices: int, model: str, model_rate: int, ordered: bool = False
    ) -> tuple[Completed, FileEstimate]:
        """Write the estimated voices of the recording, and collect warnings; see :func:`estimate_file`."""
        batch = self.batch
        started = time.perf_counter()
        settings = batch.settings(voices=voices, model_rate=model_rate, ordered=ordered)
        if batch.stream:
            batch.report(describe_latency(settings))
            result = estimate_stream(
                open_stdin(),
                self.targets,
                estimate,
                settings,
                out=sys.stdout.buffer,
                suffix=batch.suffix,
                progress=self.progress,
            )
        else:
            result = estimate_file(
                self.local_path,
                self.targets,
                estimate,
                settings,
                accelerator=accelerator_of(batch.device),
                progress=self.progress,
            )
        self.interrupted = result.interrupted
        self.note_caveats(result, model, model_rate)
        if batch.out != PIPE:
            record_outputs(self.targets)
        return self.complete(result, model, started), result

    def note_caveats(self, result: FileEstimate, model: str, model_rate: int) -> None:
        """Collect the warnings about an estimate by a model at a rate in Hz."""
        self.findings += report_caveats(
            self.job.display_name, result, channel=self.batch.channel, model=model, model_rate=model_rate
        )

    def complete(self, result: FileEstimate, model: str, started: float) -> Completed:
        """Return the result of the recording; ``started`` is a time of ``perf_counter``."""
        return Completed(
            input=self.job.label,
            model=model,
            seconds=result.info.frames / result.info.rate,
            elapsed=time.perf_counter() - started,
            rate=result.info.rate,
            channels=result.info.channels,
            clipped=result.clipped,
            gain_db=round(result.gain_db, 2),
            findings=tuple(self.findings),
        )


class _Outcome(NamedTuple):
    """The result of a job, its warnings, and the digests of its files."""

    result: Any
    caveats: list[Caveat]
    digests: Digests | None = None
    interrupted: InterruptedBySignal | None = None


def choose_processes(batch: Batch, jobs: Sequence[Job]) -> int:
    """Return the number of processes for a batch; see :func:`septool.workers.choose_processes`."""
    if any(job.label == PIPE for job in jobs):  # standard input cannot be shared with worker processes
        return 1
    if batch.jobs is not None:
        return batch.jobs
    if batch.device.type != "cpu" or not workers.FORKS:
        return 1
    sizes = []
    for job in jobs:
        with suppress(OSError):
            sizes.append(job.path.stat().st_size)
    return workers.choose_processes(sizes)


def run_batch(
    batch: Batch,
    jobs: Sequence[Job],
    work: Callable[[Task], Done],
    unreadable: Sequence[Path] = (),
    record: Record | None = None,
    find_written: FindWritten | None = None,
) -> Iterator[Done | Failed | Skipped]:
    """Yield one result for each job, in order; a failed job does not stop the others.

    Args:
        batch: the shared settings.
        jobs: the recordings.
        work: writes the targets of a task and returns its result.
        unreadable: folders that could not be searched for recordings, which count as failures.
        record: record of results, which gets a row for each job and identifies finished ones.
        find_written: returns the files that an earlier run wrote for a job, or None, where file names are known only
            after processing.

    Raises:
        InterruptedBySignal: a signal ended a live recording, whose result was the last one.
    """
    said: set[Caveat] = set()  # warnings about all recordings, reported once
    if batch.cluster is None:
        batch = replace(batch, jobs=choose_processes(batch, jobs))
        outcomes = workers.each(
            partial(_run_job, batch, work, record, find_written), jobs, batch.jobs or 1, killed=_killed
        )
    else:
        silent = replace(batch, report=_drop, progress=_drop)  # callbacks for the terminal stay in this process
        remote = partial(_run_job_on_worker, silent, work, record, find_written)
        # A job of a lost worker is repeated and may replace its partial outputs, but not files that existed before.
        items = ((job, not _existing_targets(job)) for job in jobs)
        outcomes = spread(remote, items, 0, batch.cluster.address, killed=lambda item: _killed(item[0]))
    with ExitStack() as stack:
        if batch.cluster is not None:  # lost workers may leave partial files
            stack.callback(clear_remains, [target for job in jobs for target in job.targets])
        stack.enter_context(closing(outcomes))  # closed at once if the consumer stops
        for result, caveats, digests, interrupted in outcomes:
            for caveat in caveats:
                if caveat not in said and not caveat.is_failure:  # failures are listed at the end
                    batch.report(caveat.text)
            said.update(caveat for caveat in caveats if caveat.recording is None)
            if (
                record is not None
                and not isinstance(result, Skipped)
                and (batch.cluster is not None or digests is None)
            ):
                record.add(result, digests)  # local jobs are recorded by the process that ran them
            yield result
            if interrupted is not None:  # after the result of the input that had arrived
                raise interrupted
            if batch.fail_fast and not isinstance(result, Skipped) and result.error is not None:
                return
    yield from map(Failed.of_folder, unreadable)


def _drop(*_: object) -> None:
    pass


def _run_job_on_worker(
    batch: Batch,
    work: Callable[[Task], Done],
    record: Record | None,
    find_written: FindWritten | None,
    item: tuple[Job, bool],
) -> _Outcome:
    """Run a job on a device of this worker; the item tells whether none of its outputs existed before."""
    assert batch.cluster is not None
    job, is_new = item
    try:
        batch = replace(batch, device=choose_device(batch.cluster.device, worker_number()))
    except UsageError as error:  # no such device on this machine
        return _Outcome(Failed.of_error(job, error, job.path), [])
    batch = replace(batch, force=True, skip_existing=False) if is_new else batch
    return _run_job(batch, work, record, find_written, job)


def _killed(job: Job) -> _Outcome:
    """Return the result of a job whose process was killed, and remove its partial files."""
    clear_remains(job.targets)
    return _Outcome(Failed(job.label, f"{job.display_name}: {workers.KILLED}"), [])


def _is_done(batch: Batch, record: Record | None, job: Job) -> bool:
    """Return whether the existing outputs of a job are those it would produce.

    Raises:
        SeptoolError: according to the record they differ, and they must not be replaced.
    """
    if record is not None and not job.targets:
        return False  # the record has no rows for recordings without outputs
    difference = record.difference(job) if record is not None else None
    if difference is not None and not batch.force:
        raise SeptoolError(f"{printable(job.targets[0])} exists, but {difference}; use --force to do it again")
    return difference is None


def _run_job(
    batch: Batch, work: Callable[[Task], Done], record: Record | None, find_written: FindWritten | None, job: Job
) -> _Outcome:
    """Run a job; return its outcome."""
    name = job.display_name
    task = Task(batch, job, job.path, job.targets)

    def wait() -> None:
        text = f"{name}: another run is working on it; waiting for that"
        task.findings.append(Caveat(CaveatKind.CONCURRENT, text, name))
        if batch.jobs == 1:  # otherwise warnings come with the result
            batch.report(text)

    try:
        with ExitStack() as stack:
            if batch.out != PIPE:
                before, known = _with_written(job, find_written)
                there = known and all(path.exists() for path in before.targets + before.beside)
                if there and batch.skip_existing and _is_done(batch, record, before):
                    return _Outcome(Skipped(job.label, tuple(map(str, before.targets))), [])
                for folder in {target.parent for target in job.targets}:
                    make_folder(folder)
                stack.enter_context(claim(job.targets[0], wait))
                waited = bool(task.findings)
                task.findings = [] if batch.jobs == 1 else task.findings
                before, known = _with_written(job, find_written)
                existing = _existing_targets(before)
                whole = known and len(existing) == len(before.targets)
                lacking = [path for path in before.beside if not path.exists()]
                done = whole and not lacking and batch.skip_existing and _is_done(batch, record, before)
                if done or (whole and not lacking and waited and not batch.force):
                    return _Outcome(Skipped(job.label, tuple(map(str, before.targets))), task.findings)
                if existing and not batch.force:
                    advice = "use --force to replace it or --skip-existing"
                    if batch.skip_existing:  # an incomplete set of outputs may be the user's files
                        advice = "the other voices do not; remove it or use --force"
                        if not known:
                            advice = "no earlier run of this has written it; remove it or use --force"
                        elif whole:
                            advice = f"{printable(lacking[0])} does not; use --force to write both"
                    raise SeptoolError(f"{printable(existing[0])} exists; {advice}")
            if job.label == PIPE and not batch.stream:
                task.local_path = stack.enter_context(stdin_as_file())
            if batch.out == PIPE and not batch.stream:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="septool-"))
                task.targets = [Path(folder) / f"voices.{batch.suffix}"]
            stack.enter_context(enough_memory(workers.TOO_LARGE))
            result = work(task)
            if batch.out == PIPE and not batch.stream:
                copy_to_stdout(task.targets[0])
            digests = None
            if record is not None:
                outputs: Any = result
                digests = Digests.of(None if job.label == PIPE else job.path, outputs.outputs)
                if batch.cluster is None:  # before another run could see the outputs without a record
                    record.add(outputs, digests)
        return _Outcome(result, task.findings, digests, task.interrupted)
    except BrokenPipeError:
        raise
    except (SeptoolError, OSError) as error:
        return _Outcome(Failed.of_error(job, error, task.local_path), task.findings)


def _with_written(job: Job, find_written: FindWritten | None) -> tuple[Job, bool]:
    """Return a job with the files of an earlier run as targets, and whether its file names are known."""
    written = find_written(job) if find_written is not None else None
    if written is None:
        return job, find_written is None
    return replace(job, targets=tuple(written)), True


def _existing_targets(job: Job) -> list[Path]:
    """Return the existing targets, after completing the renames of a killed run."""
    existing = [target for target in job.targets if target.exists()]
    if 0 < len(existing) < len(job.targets) and is_pending(existing[0]):
        for folder in {target.parent for target in job.targets}:
            recover(folder)
        existing = [target for target in job.targets if target.exists()]
    return existing


def write_report(
    results: Iterable[Done | Failed | Skipped],
    html: Path | None,
    title: str,
    describe: Callable[[Done | Skipped], html_report.Entry],
) -> Iterator[Done | Failed | Skipped]:
    """Yield results unchanged, then write the HTML report if one was requested."""
    if html is None:  # nothing is accumulated
        yield from results
        return
    entries: list[html_report.Entry] = []
    for result in results:
        if isinstance(result, Failed):
            entries.append(html_report.Entry(result.input, result.error))
        else:
            notes = [finding.text for finding in result.findings] if isinstance(result, Completed) else []
            entries.append(replace(describe(result), notes=notes))
        yield result
    html_report.write_html_report(html, title, entries)
