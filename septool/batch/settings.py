"""Settings of a batch: what all recordings of one call share, and where their outputs go."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from septool import audio, workers
from septool.batch.inputs import FoundInputs, Input, find_inputs
from septool.batch.output_names import Job, OutputNaming, check_references_kept, plan_jobs
from septool.batch.record import Record
from septool.batch.shards import select_shard
from septool.batch.stdio import PIPE, check_files_to_skip, check_pipe
from septool.claims import clear_remains, is_claimed
from septool.cluster import check_address
from septool.config import JsonMapping
from septool.device import check_device_name
from septool.errors import AudioError, UsageError
from septool.files import sha256_of
from septool.inference.channels import Channel
from septool.inference.streaming import Clip, EstimateSettings, check_segment
from septool.reports.pages import check_html_report

if TYPE_CHECKING:
    import torch

Progress = Callable[[str, float, float], None]  # recording, seconds that are done, seconds in total


class Cluster(NamedTuple):
    """A cluster of machines that work on recordings."""

    address: str  # see :mod:`septool.cluster`
    device: str  # device of each worker: auto, cpu, cuda, cuda:N or mps


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """Settings that all recordings of one call share, for every command."""

    out: str  # folder of the voices, or - for standard output
    name: str  # file name, made of {stem}, {suffix}, {voice}, {channel} and {model}
    suffix: str  # suffix of the files, without a dot
    segment: float  # seconds given to the model at once
    overlap: float  # seconds that two segments share
    device: "torch.device"
    channel: Channel = None  # the channel to use, from 1; all are averaged by default
    track: int = 1  # audio track, in containers with several
    raw: str | None = None  # format of headerless recordings, ENCODING:RATE:CHANNELS
    voice: int | None = None  # the only voice that is written to standard output
    clip: Clip = "clamp"  # how samples over full scale are treated
    stream: bool = False  # process standard input while it arrives
    jobs: int | None = None  # number of processes, without influence on the results; see choose_processes
    cluster: Cluster | None = None  # replaces processes of this machine
    force: bool = False  # replace existing files
    skip_existing: bool = False
    fail_fast: bool = False  # stop at the first recording that fails
    shard: str | None = None  # I/N: process part I of N only
    manifest: Path | None = None  # record of results
    html: Path | None = None  # HTML report
    report: Callable[[str], None] = lambda _: None  # callback for warnings
    progress: Progress = lambda *_: None

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            UsageError: naming the one that does not fit.
        """
        check_segment(self.segment, self.overlap)
        if f".{self.suffix.lower()}" not in audio.WRITTEN:
            known = ", ".join(suffix[1:] for suffix in audio.WRITTEN)
            raise UsageError(f"--format is {self.suffix!r}; it can be {known}")
        self.raw_format  # noqa: B018 - raises if the format is invalid
        if self.clip not in get_args(Clip):
            raise UsageError(f"--clip is {self.clip!r}; it can be {', '.join(get_args(Clip))}")
        if self.clip == "none" and not audio.has_float(Path(f"voice.{self.suffix}")):
            raise UsageError(f"--clip none takes a format with float samples, such as wav; --format is {self.suffix}")
        if self.clip == "rescale" and self.stream:
            raise UsageError("--clip rescale listens to a whole recording first; leave out --stream")
        if self.voice is not None and self.out != PIPE:
            raise UsageError(f"--voice {self.voice} takes --out -; files are named for every voice")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs is {self.jobs}; it has to be at least 1")
        if self.jobs is not None and self.jobs > 1 and (self.device.type != "cpu" or not workers.FORKS):
            raise UsageError(f"--jobs {self.jobs} takes --device cpu and Linux; leave it out")
        if self.cluster is not None:
            check_address(self.cluster.address)
            check_device_name(self.cluster.device)
            if self.jobs is not None:
                raise UsageError(f"--cluster {self.cluster.address} has workers of its own; leave out --jobs")
            if self.out == PIPE:
                raise UsageError(f"--cluster {self.cluster.address} writes files; name a folder with --out")

    @property
    def computing_device(self) -> "torch.device | None":
        """The device that computes, or None where each worker of a cluster chooses its own."""
        return None if self.cluster is not None and self.cluster.device != "cpu" else self.device

    @property
    def own_device(self) -> "torch.device | None":
        """The device of this machine, or None where a cluster computes, possibly on devices of several kinds."""
        return None if self.cluster is not None else self.device

    @property
    def raw_format(self) -> audio.RawFormat | None:
        """The format of headerless recordings."""
        return None if self.raw is None else audio.RawFormat.parse(self.raw)

    def estimate_settings(self, *, voices: int, model_rate: int, ordered: bool = False) -> EstimateSettings:
        """Return the settings for a model by its number of voices, its rate in Hz, and whether their order is fixed."""
        return EstimateSettings(
            voices=voices,
            model_rate=model_rate,
            segment=self.segment,
            overlap=self.overlap,
            channel=self.channel,
            track=self.track,
            raw=self.raw_format,
            voice=self.voice,
            clip=self.clip,
            ordered=ordered,
        )

    def naming(self, model: str) -> OutputNaming:
        """Return how the files of voices are named that a checkpoint of this name makes."""
        return OutputNaming(self.out, self.name, self.suffix, model)

    def open_record(
        self, model: str, checkpoint: Path, more: JsonMapping, accepted: Mapping[str, Sequence[object]] | None = None
    ) -> Record | None:
        """Return the record of results, if one was requested.

        Args:
            model: the checkpoint's name.
            checkpoint: its file.
            more: further settings of the command that affect the outputs.
            accepted: other values of settings whose outputs are equally valid.
        """
        if self.manifest is None:
            return None
        if self.out == PIPE:
            raise UsageError(f"--manifest {self.manifest} tells of files; name a folder with --out")
        names = ("segment", "overlap", "channel", "track", "raw", "suffix", "clip")
        settings = {name: getattr(self, name) for name in names} | dict(more)
        accepted = dict(accepted or {})
        if self.channel in (None, "mix"):  # both mean the same; older records have None
            settings["channel"], accepted["channel"] = "mix", (None,)
        return Record(self.manifest, model, sha256_of(checkpoint), settings, accepted)

    def find_inputs(self, names: Sequence[str]) -> FoundInputs:
        """List the recordings that inputs name, and report the skipped files; see :func:`find_inputs`."""
        return find_inputs(names, self.report, raw=self.raw is not None)

    def check_inputs(self, inputs: Sequence[Input]) -> None:
        """Refuse inputs that contradict the outputs, before any work is done."""
        piped = any(map(_comes_once, inputs))
        if self.html is not None:
            if self.out == PIPE or piped:
                raise UsageError(f"--html {self.html} points to files; name them instead of standard input and output")
            check_html_report(self.html, force=self.force or self.skip_existing)
        check_pipe(self.out, inputs)
        check_files_to_skip(self.out, skip_existing=self.skip_existing)
        if self.skip_existing and piped:
            raise UsageError("--skip-existing goes by names, and standard input has none; leave it out")
        if self.jobs is not None and self.jobs > 1 and piped:
            raise UsageError(f"--jobs {self.jobs} reads files; name them instead of standard input")
        if self.stream and [recording.is_pipe for recording in inputs] != [True]:
            raise UsageError("--stream takes standard input alone; give - and pipe the recording in")
        if self.cluster is not None and piped:
            raise UsageError(f"--cluster {self.cluster.address} reads files; name them instead of standard input")
        if self.stream and self.out == PIPE:
            audio.check_piped(self.suffix)
        if self.raw is not None and self.html is not None:
            raise UsageError(f"--html {self.html} shows recordings that have a header; leave out --raw")
        if self.track != 1 and self.html is not None:
            raise UsageError(
                f"--html {self.html} shows the first track of sound, as browsers play it; leave out --track"
            )

    def count_channels(self, recording: Input) -> int:
        """Return the channels of a recording; 1 if it cannot be opened, which is reported when it is processed."""
        if _comes_once(recording):  # what is read here would be gone later
            raise UsageError("--channel each names files for every channel, which takes files; or give --out -")
        with suppress(AudioError), audio.open_audio(recording.path, track=self.track, raw=self.raw_format) as file:
            return file.channels
        return 1

    def plan(
        self,
        inputs: Sequence[Input],
        explicit: Sequence[str],
        references: Sequence[Path],
        *,
        voices: int | Sequence[str],
        model: str,
    ) -> list[Job]:
        """Assign output files; return the jobs of this machine's shard. See :func:`plan_jobs`."""
        plan = plan_jobs(
            inputs,
            explicit,
            self.naming(model),
            voices=voices,
            count_channels=self.count_channels if self.channel == "each" else None,
            force=self.force,
        )
        if plan.own_voices:
            self.report(f"{len(plan.own_voices)} files are left out: they are voices of the others")
        check_references_kept(references, plan.jobs)
        return self.take_share(plan.jobs)

    def take_share(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs of this machine's shard, after removing what a killed run left of them."""
        jobs = select_shard(jobs, self.shard)
        clear_remains(target for job in jobs for target in job.targets)
        if not (self.force or self.skip_existing) and is_claimed(job.targets[0] for job in jobs if job.targets):
            self.report(f"another run is writing to {self.out}; --skip-existing leaves out what it has done")
        return jobs


def _comes_once(recording: Input) -> bool:
    """Return whether a recording can be read only once: standard input, or a named pipe."""
    return recording.is_pipe or audio.is_pipe(recording.path)
