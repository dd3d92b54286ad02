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
from septool.batch import html_report
from septool.batch.outcomes import Completed, Failed, Skipped
from septool.batch.output_folder import record_outputs
from septool.batch.output_names import Job
from septool.batch.record import Digests, Record
from septool.batch.settings import BatchSettings
from septool.batch.stdio import PIPE, check_reader, copy_to_stdout, open_stdin, stdin_as_file
from septool.claims import claim, clear_remains
from septool.cluster import spread, worker_number
from septool.device import choose_device, enough_memory
from septool.errors import InterruptedBySignal, SeptoolError, UsageError
from septool.files import make_folder
from septool.inference.accelerators import accelerator_of
from septool.inference.findings import Caveat, CaveatKind, report_caveats
from septool.inference.level import ArrayEstimator
from septool.inference.live import describe_latency, estimate_stream
from septool.inference.streaming import FileEstimate, estimate_file
from septool.printable import printable

FindWritten = Callable[[Job], Sequence[Path] | None]
Done = TypeVar("Done")


@dataclass
class Task:
    """A job that is being worked on."""

    batch: BatchSettings
    job: Job
    local_path: Path  # file of the recording; not the job's if it comes from a pipe
    targets: Sequence[Path]
    findings: list[Caveat] = field(default_factory=list)
    sums: dict[Path, str] = field(default_factory=dict)  # sha256 of what was written
    interrupted: InterruptedBySignal | None = None  # what ended a recording that was arriving

    @property
    def outputs(self) -> tuple[str, ...]:
        """Where the voices went, as the user reads it."""
        return (PIPE,) if self.batch.out == PIPE else tuple(map(str, self.targets))

    def progress(self, done: float, total: float) -> None:
        """Report how many seconds of the recording are done, where one process works on one at a time.

        Raises:
            BrokenPipeError: the voices are for a pipe whose reader has gone.
        """
        if self.batch.out == PIPE:
            check_reader()
        if self.batch.jobs == 1:
            self.batch.progress(self.job.display_name, done, total)

    def estimate(
        self, estimate: ArrayEstimator, *, voices: int, model: str, model_rate: int, ordered: bool = False
    ) -> tuple[Completed, FileEstimate]:
        """Write the estimates of the recording's voices, and note warnings about it; see :func:`estimate_file`."""
        batch = self.batch
        started = time.perf_counter()
        settings = batch.estimate_settings(voices=voices, model_rate=model_rate, ordered=ordered)
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
                joined=batch.out == PIPE,
                accelerator=accelerator_of(batch.device),
                progress=self.progress,
            )
        self.interrupted = result.interrupted
        self.note_caveats(result, model, model_rate)
        if batch.out != PIPE:
            self.sums = record_outputs(self.targets)
        return self.complete(result, model, started), result

    def note(self, kind: CaveatKind, fact: str) -> Caveat:
        """Add a warning about the recording, by its name, and return it."""
        name = self.job.display_name
        caveat = Caveat(kind, f"{name}: {fact}", name)
        self.findings.append(caveat)
        return caveat

    def note_caveats(self, result: FileEstimate, model: str, model_rate: int) -> None:
        """Add warnings about the voices that a model made of the recording, at its rate in Hz."""
        self.findings += report_caveats(
            self.job.display_name, result, channel=self.batch.channel, model=model, model_rate=model_rate
        )

    def complete(self, result: FileEstimate, model: str, started: float) -> Completed:
        """Return what became of the recording, on which work started at a time of ``perf_counter``."""
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
    """What became of a job, the warnings about it, and the digests of its files."""

    result: Any
    caveats: list[Caveat]
    digests: Digests | None = None
    interrupted: InterruptedBySignal | None = None


def choose_processes(batch: BatchSettings, jobs: Sequence[Job]) -> int:
    """Return how many processes work on recordings; see :func:`septool.workers.choose_processes`."""
    if any(job.is_pipe for job in jobs):  # another process has another stdin
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
    batch: BatchSettings,
    jobs: Sequence[Job],
    work: Callable[[Task], Done],
    unreadable: Sequence[Path] = (),
    record: Record | None = None,
    find_written: FindWritten | None = None,
) -> Iterator[Done | Failed | Skipped]:
    """Yield one result for each job, in order; one that fails does not keep the others from being done.

    Args:
        batch: what all have in common.
        jobs: the recordings.
        work: writes the targets of a task and returns its result.
        unreadable: folders that could not be searched for recordings, which count as failures.
        record: of results, which gets a row for each, and by which existing ones are known.
        find_written: returns the files that an earlier run wrote of a job, or None if there was none, where their
            names are known only when they are written.

    Raises:
        InterruptedBySignal: it ended a recording that was arriving, whose result was the last one.
    """
    reported: set[Caveat] = set()  # caveats already reported, of any recording
    if batch.cluster is None:
        batch = replace(batch, jobs=choose_processes(batch, jobs))
        outcomes = workers.each(
            partial(_run_job, batch, work, record, find_written), jobs, batch.jobs or 1, killed=_killed
        )
    else:
        silent = replace(batch, report=_drop, progress=_drop)  # what a terminal shows stays here
        remote = partial(_run_job_on_worker, silent, work, record, find_written)
        # Work of a lost worker is done again, over what it wrote; what was there before is somebody's.
        items = ((job, _is_new(job)) for job in jobs)
        outcomes = spread(remote, items, 0, batch.cluster.address, killed=lambda item: _killed(item[0]))
    with ExitStack() as stack:
        if batch.cluster is not None:  # workers that were lost left something behind
            stack.callback(clear_remains, [target for job in jobs for target in job.targets])
        stack.enter_context(closing(outcomes))  # at once, where no more are wanted
        for result, caveats, digests, interrupted in outcomes:
            for caveat in caveats:
                if caveat not in reported and not caveat.is_failure:  # failures are listed at the end
                    batch.report(caveat.text)
            reported.update(caveat for caveat in caveats if caveat.recording is None)
            if (
                record is not None
                and not isinstance(result, Skipped)
                and (batch.cluster is not None or digests is None)
            ):
                record.add(result, digests)  # what a process here has made is noted there
            yield result
            if interrupted is not None:  # and what had arrived is a result like any other
                raise interrupted
            if batch.fail_fast and not isinstance(result, Skipped) and result.error is not None:
                return
    yield from map(Failed.of_folder, unreadable)


def _drop(*_: object) -> None:
    pass


def _run_job_on_worker(
    batch: BatchSettings,
    work: Callable[[Task], Done],
    record: Record | None,
    find_written: FindWritten | None,
    item: tuple[Job, bool],
) -> _Outcome:
    """Return what became of a job, of which nothing was there before or something was, on a device of this worker."""
    assert batch.cluster is not None
    job, is_new = item
    try:
        batch = replace(batch, device=choose_device(batch.cluster.device, worker_number()))
    except UsageError as error:  # this machine has none such
        return _Outcome(Failed.of_error(job, error, job.path), [])
    batch = replace(batch, force=True, skip_existing=False) if is_new else batch
    return _run_job(batch, work, record, find_written, job)


def _killed(job: Job) -> _Outcome:
    """Return the result of a job whose process was killed, and clear away what it left."""
    clear_remains(job.targets)
    return _Outcome(Failed(job.label, f"{job.display_name}: {workers.KILLED}"), [])


class _Earlier(NamedTuple):
    """What an earlier run left of a job."""

    job: Job  # its targets are the files that were written, where only that run knows which
    known: bool  # whether these are all
    existing: Sequence[Path]  # targets that are there
    missing: Sequence[Path]  # files beside them that are not

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.known and len(self.existing) == len(self.job.targets) and not self.missing


def _run_job(
    batch: BatchSettings,
    work: Callable[[Task], Done],
    record: Record | None,
    find_written: FindWritten | None,
    job: Job,
) -> _Outcome:
    """Run a job; return its outcome."""
    task = Task(batch, job, job.path, job.targets)
    try:
        with ExitStack() as stack:
            if batch.out != PIPE:
                skipped = _claim_outputs(stack, task, record, find_written)
                if skipped is not None:
                    return _Outcome(skipped, task.findings)
            result, digests = _work_on(stack, task, work, record)
        return _Outcome(result, task.findings, digests, task.interrupted)
    except BrokenPipeError:
        raise
    except (SeptoolError, OSError) as error:
        return _Outcome(Failed.of_error(job, error, task.local_path), task.findings)


def _claim_outputs(
    stack: ExitStack, task: Task, record: Record | None, find_written: FindWritten | None
) -> Skipped | None:
    """Keep other runs from the outputs of a task until the stack is closed, or return that they are done.

    Raises:
        SeptoolError: something is there that may not be replaced.
    """
    batch, job = task.batch, task.job

    def wait() -> None:
        caveat = task.note(CaveatKind.CONCURRENT, "another run is working on it; waiting for that")
        if batch.jobs == 1:  # otherwise warnings come with the result
            batch.report(caveat.text)

    earlier = _find_earlier(job, find_written)
    if _is_done(batch, record, earlier):
        return Skipped(job.label, tuple(map(str, earlier.job.targets)))
    for folder in {target.parent for target in job.targets}:
        make_folder(folder)
    stack.enter_context(claim(job.targets[0], wait))
    task.findings = [] if batch.jobs == 1 else task.findings
    earlier = _find_earlier(job, find_written, claimed=True)
    if _is_done(batch, record, earlier):
        return Skipped(job.label, tuple(map(str, earlier.job.targets)))
    if earlier.existing and not batch.force:
        raise SeptoolError(f"{printable(earlier.existing[0])} exists; {_advise(batch, earlier)}")
    return None


def _find_earlier(job: Job, find_written: FindWritten | None, *, claimed: bool = False) -> _Earlier:
    """Find what an earlier run left of a job; one that was killed is recovered if nobody else can be writing."""
    written = find_written(job) if find_written is not None else None
    known = find_written is None or written is not None
    if written is not None:
        job = replace(job, targets=tuple(written))
    existing = _existing_targets(job) if claimed else [target for target in job.targets if target.exists()]
    return _Earlier(job, known, existing, [path for path in job.beside if not path.exists()])


def _existing_targets(job: Job) -> list[Path]:
    """Return the existing targets, after completing the renames of a killed run."""
    existing = [target for target in job.targets if target.exists()]
    if 0 < len(existing) < len(job.targets) and is_pending(existing[0]):
        for folder in {target.parent for target in job.targets}:
            recover(folder)
        existing = [target for target in job.targets if target.exists()]
    return existing


def _is_new(job: Job) -> bool:
    """Return whether no target exists; False where that is unknown, for which processing gives the reason."""
    try:
        return not _existing_targets(job)
    except (SeptoolError, OSError):
        return False


def _is_done(batch: BatchSettings, record: Record | None, earlier: _Earlier) -> bool:
    """Return whether a job can be skipped: all its outputs exist and are those it would produce.

    Raises:
        SeptoolError: according to the record they differ, and they must not be replaced.
    """
    if not (earlier.complete and batch.skip_existing):
        return False
    if record is None:
        return True
    if not earlier.job.targets:
        return False  # the record has no rows for recordings without outputs
    difference = record.difference(earlier.job)
    if difference is not None and not batch.force:
        output = printable(earlier.job.targets[0])
        raise SeptoolError(f"{output} exists, but {difference}; use --force to do it again")
    return difference is None


def _advise(batch: BatchSettings, earlier: _Earlier) -> str:
    """Return what to do about outputs that are there and not to be replaced."""
    if not batch.skip_existing:
        return "use --force to replace it or --skip-existing"
    # An incomplete set of outputs may be the user's files.
    if not earlier.known:
        return "no earlier run of this has written it; remove it or use --force"
    if len(earlier.existing) < len(earlier.job.targets):
        return "the other voices do not; remove it or use --force"
    return f"{printable(earlier.missing[0])} does not; use --force to write both"


def _work_on(
    stack: ExitStack, task: Task, work: Callable[[Task], Done], record: Record | None
) -> tuple[Done, Digests | None]:
    """Do a task, with its recording and its outputs in files; return its result, and their digests for the record."""
    batch, job = task.batch, task.job
    if job.is_pipe and not batch.stream:
        task.local_path = stack.enter_context(stdin_as_file())
    if batch.out == PIPE and not batch.stream:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="septool-"))
        task.targets = [Path(folder) / f"voices.{batch.suffix}"]
    stack.enter_context(enough_memory(workers.TOO_LARGE))
    result = work(task)
    if batch.out == PIPE and not batch.stream:
        copy_to_stdout(task.targets[0])
    if record is None:
        return result, None
    outputs: Any = result
    digests = Digests.of(job, outputs.outputs, task.sums)
    if batch.cluster is None:  # before another run could see the outputs without a record
        record.add(outputs, digests)
    return result, digests


def write_report(
    results: Iterable[Done | Failed | Skipped],
    html: Path | None,
    title: str,
    describe: Callable[[Done | Skipped], html_report.Entry],
) -> Iterator[Done | Failed | Skipped]:
    """Pass results on, and when all are there write the HTML report, if one is wanted."""
    if html is None:  # and nothing is kept of what may be many
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
