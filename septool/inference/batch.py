"""Many recordings, one after the other or in several processes: what fails does not keep the others from being done."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from septool import audio, workers
from septool.errors import AudioError, SeptoolError, UsageError
from septool.files import make_folder
from septool.inference import html_report
from septool.inference.findings import Finding, report_caveats
from septool.inference.level import Estimator
from septool.inference.paths import (
    PIPE,
    Input,
    Job,
    check_pipe,
    check_references_kept,
    copy_to_stdout,
    plan_jobs,
    select_shard,
)
from septool.inference.streaming import FileEstimate, check_segment, estimate_file

Progress = Callable[[str, float, float], None]  # a recording, the seconds of it that are done, and in all
Done = TypeVar("Done")


@dataclass(frozen=True)
class Failed:
    """A recording that could not be worked on, and why."""

    outcome: ClassVar[str] = "failed"
    input: str
    error: str

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A recording whose voices are there already."""

    outcome: ClassVar[str] = "there already"
    input: str
    outputs: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"skipped": True}


@dataclass(frozen=True, kw_only=True)
class Completed:
    """What became of a recording whose voices were written."""

    outcome: ClassVar[str] = "done"
    input: str
    model: str
    seconds: float  # of audio
    elapsed: float  # seconds it took
    rate: int
    channels: int
    clipped: int  # samples that went over full scale

    @property
    def summary(self) -> str:
        """How long it was and how long it took."""
        return f"{self.seconds:.1f} s in {self.elapsed:.1f} s with {self.model}"

    def row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What all recordings of one call have in common, whatever is made of them."""

    out: str  # folder of the voices; - is standard output
    name: str  # file name, made of {stem}, {suffix}, {voice} and {model}
    suffix: str  # of the files, without a dot
    segment: float  # seconds given to the model at once
    overlap: float  # seconds that two segments share
    device: torch.device
    channel: int | None = None  # to listen to, from 1; all are averaged by default
    jobs: int = 1  # processes; any number gives the same, in the same order
    force: bool = False  # replace files that are there
    skip_existing: bool = False
    shard: str | None = None  # I/N for part I of N
    html: Path | None = None  # report to write
    report: Callable[[str], None] = lambda _: None  # callback for warnings
    progress: Progress = lambda *_: None

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            UsageError: naming the one that does not fit.
        """
        check_segment(self.segment, self.overlap)
        audio.format_of(Path(f"voice.{self.suffix}"))
        if self.jobs > 1 and (self.device.type != "cpu" or not workers.FORKS):
            raise UsageError(f"--jobs {self.jobs} takes --device cpu and Linux; leave it out")

    def check_inputs(self, inputs: Sequence[Input]) -> None:
        """Refuse, before anything is done, inputs that do not go with the outputs."""
        if self.html is not None:
            if self.out == PIPE or any(each.label == PIPE for each in inputs):
                raise UsageError(f"--html {self.html} points to files; name them instead of standard input and output")
            html_report.check_html_report(self.html, force=self.force)
        check_pipe(self.out, inputs)

    def plan(
        self, inputs: Sequence[Input], explicit: Sequence[str], references: Sequence[Path], *, voices: int, model: str
    ) -> list[Job]:
        """Decide where voices go; return the jobs that are this machine's. See :func:`plan_jobs`."""
        plan = plan_jobs(inputs, explicit, out=self.out, name=self.name, suffix=self.suffix, voices=voices, model=model)
        if plan.own_voices:
            self.report(f"{len(plan.own_voices)} files are left out: they are voices of the others")
        check_references_kept(references, plan.jobs)
        return select_shard(plan.jobs, self.shard)


@dataclass
class Task:
    """A job that is being worked on."""

    batch: Batch
    job: Job
    local_path: Path  # of the recording; not the job's if it comes from a pipe
    targets: Sequence[Path]
    findings: list[Finding] = field(default_factory=list)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the user is told that the voices went to."""
        return (PIPE,) if self.batch.out == PIPE else tuple(map(str, self.targets))

    def estimate(
        self, estimate: Estimator, *, voices: int, model: str, model_rate: int
    ) -> tuple[Completed, FileEstimate]:
        """Write the estimates of the recording's voices, and note what is worth a word; see :func:`estimate_file`."""
        batch, name = self.batch, self.job.display_name
        started = time.perf_counter()
        result = estimate_file(
            self.local_path,
            self.targets,
            estimate,
            voices=voices,
            model_rate=model_rate,
            device=batch.device,
            segment=batch.segment,
            overlap=batch.overlap,
            channel=batch.channel,
            progress=partial(batch.progress, name) if batch.jobs == 1 else lambda *_: None,
        )
        self.findings += report_caveats(name, result, channel=batch.channel, model=model, model_rate=model_rate)
        completed = Completed(
            input=self.job.label,
            model=model,
            seconds=result.info.frames / result.info.rate,
            elapsed=time.perf_counter() - started,
            rate=result.info.rate,
            channels=result.info.channels,
            clipped=result.clipped,
        )
        return completed, result


def run_batch(batch: Batch, jobs: Sequence[Job], work: Callable[[Task], Done]) -> Iterator[Done | Failed | Skipped]:
    """Yield one result for each job, in order; one that fails does not keep the others from being done.

    Args:
        batch: what all have in common.
        jobs: the recordings.
        work: writes the targets of a task and returns its result.
    """
    processes = 1 if any(job.label == PIPE for job in jobs) else batch.jobs  # another process has another stdin
    said: set[Finding] = set()  # of all recordings, so that once is enough
    for result, findings in workers.each(partial(_run_job, batch, work), jobs, processes):
        for finding in findings:
            if finding not in said:
                batch.report(finding.text)
        said.update(finding for finding in findings if finding.recording is None)
        yield result


def _run_job(batch: Batch, work: Callable[[Task], Done], job: Job) -> tuple[Done | Failed | Skipped, list[Finding]]:
    """Return the result of a job, and what is worth a word."""
    task = Task(batch, job, job.path, job.targets)
    try:
        if batch.out != PIPE:
            existing = [target for target in job.targets if target.exists()]
            if batch.skip_existing and len(existing) == len(job.targets):
                return Skipped(job.label, tuple(map(str, job.targets))), []
            if existing and not batch.force:
                advice = "use --force to replace it or --skip-existing"
                if batch.skip_existing:  # half a result is not one that is done, and may be somebody's
                    advice = "the other voices do not; remove it or use --force"
                raise SeptoolError(f"{existing[0]} exists; {advice}")
            for folder in {target.parent for target in job.targets}:
                make_folder(folder)
        with ExitStack() as stack:
            if job.label == PIPE:
                task.local_path = stack.enter_context(stdin_as_file())
            if batch.out == PIPE:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="septool-"))
                task.targets = [Path(folder) / f"voices.{batch.suffix}"]
            result = work(task)
            if batch.out == PIPE:
                copy_to_stdout(task.targets[0])
        return result, task.findings
    except BrokenPipeError:
        raise
    except OSError as error:  # a name that is too long, a folder that is not ours
        return Failed(job.label, f"{job.display_name}: {error.strerror or error}"), task.findings
    except SeptoolError as error:
        name, text = job.display_name, str(error)
        if task.local_path != job.path:
            text = text.replace(str(task.local_path), name)
        return Failed(job.label, text if name in text else f"{name}: {text}"), task.findings


def write_report(
    results: Iterable[Done | Failed | Skipped],
    html: Path | None,
    title: str,
    describe: Callable[[Done | Skipped], html_report.Entry],
) -> Iterator[Done | Failed | Skipped]:
    """Pass results on, and when all are there write the HTML report, if one is wanted."""
    entries: list[html_report.Entry] = []
    for result in results:
        failed = isinstance(result, Failed)
        entries.append(html_report.Entry(result.input, result.error) if failed else describe(result))
        yield result
    if html is not None:
        html_report.write_html_report(html, title, entries)


@contextmanager
def stdin_as_file() -> Iterator[Path]:
    """Keep standard input in a temporary file: decoders seek, pipes do not, and memory stays constant."""
    with tempfile.TemporaryDirectory(prefix="septool-") as folder:
        path = Path(folder) / "recording"
        if sys.stdin is None:
            raise AudioError("standard input is closed")
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise AudioError(f"standard input cannot be kept in {folder}: {error.strerror}") from None
        if not path.stat().st_size:
            raise AudioError("standard input is empty")
        yield path
