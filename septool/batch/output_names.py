"""Names of outputs: the files that the voices of each recording are written to."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from string import Formatter

from septool import audio
from septool.batch.inputs import Input
from septool.batch.output_folder import OutputLists
from septool.batch.path_keys import abspath_key, keys_read
from septool.batch.stdio import PIPE
from septool.errors import UsageError
from septool.files import is_folder

FIELD_FORMAT = re.compile(r"[<>^]?\d{0,2}(\.\d{1,2})?[ds]?")  # such as 02; longer formats would make unbounded names


@dataclass(frozen=True)
class OutputNaming:
    """How the files of voices are named."""

    out: str  # folder of the voices, or - for standard output
    pattern: str  # file name, made of {stem}, {suffix}, {voice}, {channel} and {model}
    suffix: str  # suffix of the files, without a dot
    model: str  # the checkpoint's name

    def targets(self, recording: Input, voices: int | Sequence[str], channels: int | None = None) -> tuple[Path, ...]:
        """Return the files of a recording's voices, channel after channel.

        Args:
            recording: the recording.
            voices: number of files, or the name of each.
            channels: number of channels, if each gets files of its own with ``{channel}`` in their names.

        Raises:
            UsageError: the pattern cannot be formatted, gives voices the same file or leads out of the folder.
        """
        name, parts = self.pattern, self._parts(recording)
        numbered = "{voice}" if channels is None else "{channel}, {voice}"
        texts = {*parts} if isinstance(voices, int) else {*parts, "voice"}
        try:
            numbering = {"voice"} if channels is None else {"voice", "channel"}
            for _, field, spec, conversion in Formatter().parse(name):
                known = field is None or (field in {*parts, *numbering} and not conversion)
                if not known or not FIELD_FORMAT.fullmatch(spec or ""):
                    raise ValueError
                if field in texts and (spec or "").endswith("d"):
                    raise UsageError(f"--name {name!r}: {{{field}}} is no number here; leave out :{spec}")
            called = range(1, voices + 1) if isinstance(voices, int) else voices
            names = [
                name.format(channel=channel + 1, voice=voice, **parts)
                for channel in range(channels or 1)
                for voice in called
            ]
        except (KeyError, IndexError, ValueError):
            raise UsageError(f"--name {name!r} can use {{stem}}, {{suffix}}, {numbered} and {{model}} only") from None
        if len(set(names)) < len(names):
            raise UsageError(f"--name {name!r} gives every voice the same file; put {numbered} in it")
        if "\0" in name:
            raise UsageError(f"--name {name!r} has a NUL, which no file name can have")
        if any(PurePath(stem).is_absolute() or ".." in PurePath(stem).parts for stem in names):
            raise UsageError(f"--name {name!r} leads out of the output folder; use --out")
        return tuple(self.folder(recording) / f"{stem}.{self.suffix}" for stem in names)

    def folder(self, recording: Input) -> Path:
        """Return the folder that the files of a recording are in or below."""
        return Path(self.out) / recording.subfolder

    def voice_pattern(self, recording: Input) -> str:
        """Return a recording's file name with all but the voice filled in, to find its voices again.

        :meth:`targets` refuses patterns that cannot be formatted.
        """
        return f"{self.pattern.format(voice=_AnyVoice(), **self._parts(recording))}.{self.suffix}"

    def _parts(self, recording: Input) -> dict[str, str]:
        """Return what fields of the pattern stand for, whatever the voice."""
        return {"stem": recording.stem, "suffix": recording.path.suffix[1:], "model": self.model}


class _AnyVoice:
    """Placeholder in a file name for a voice that is not known yet."""

    def __format__(self, spec: str) -> str:
        return f"{{voice:{spec}}}" if spec else "{voice}"


@dataclass(frozen=True)
class Job(Input):
    """A recording and the files for its voices; none yet if they go to standard output."""

    targets: tuple[Path, ...] = ()
    beside: tuple[Path, ...] = ()  # other requested outputs, completed only with the voices


@dataclass(frozen=True)
class JobPlan:
    """The jobs, and the recordings that are skipped as voices of others."""

    jobs: tuple[Job, ...]
    own_voices: tuple[Job, ...] = ()


def looks_like_file(out: str) -> bool:
    """Return whether ``out`` has the suffix of a recording and is no existing folder."""
    return Path(out).suffix.lower() in {*audio.WRITTEN} | audio.FOREIGN and not is_folder(Path(out))


def plan_jobs(
    inputs: Sequence[Input],
    explicit: Sequence[str],
    naming: OutputNaming,
    *,
    voices: int | Sequence[str],
    count_channels: Callable[[Input], int] | None = None,
    force: bool = False,
) -> JobPlan:
    """Assign output files to the voices of every recording; none yet for standard output.

    A file found in a folder that is itself the voice of another recording there is skipped, so that
    a folder can be separated into itself twice; recordings named explicitly are not.

    Args:
        inputs: the recordings.
        explicit: what the user named.
        naming: how the files are named.
        voices: number of files per recording, or the name of each.
        count_channels: returns the number of channels of a recording, if each channel gets files of its own with
            ``{channel}`` in their names.
        force: replace existing files.

    Raises:
        UsageError: two voices would get the same file, or a recording would be replaced by a voice.
    """
    if naming.out == PIPE:
        return JobPlan(tuple(Job(**vars(recording)) for recording in inputs))
    jobs: list[Job] = []
    for recording in inputs:
        channels = count_channels(recording) if count_channels else None
        jobs.append(Job(**vars(recording), targets=naming.targets(recording, voices, channels)))
    owners = find_owners(((job, target) for job in jobs for target in job.targets), has_name=True)
    kept, own_voices, lists = [], [], OutputLists()
    for job in jobs:
        keys = set() if job.is_pipe else keys_read(job.path)
        owner = next((owners[key] for key in keys if key in owners), None)
        if owner is None:
            kept.append(job)
        elif owner.label == job.label or job.label in explicit or (force and not lists.is_output(job.path)):
            raise UsageError(f"{job.label} would be replaced by a voice of {owner.label}; use --name or --out")
        else:
            own_voices.append(job)
    return JobPlan(tuple(kept), tuple(own_voices))


def check_references_kept(references: Sequence[Path], jobs: Sequence[Job]) -> None:
    """Refuse voices that would overwrite references or enrollments."""
    kept = {key: reference for reference in references for key in keys_read(reference)}
    for job in jobs if kept else ():
        for target in job.targets:
            if (reference := kept.get(abspath_key(target))) is not None:
                raise UsageError(f"--reference {reference} would be replaced by the voice of {job.label}; use --out")


def find_owners(files: Iterable[tuple[Input, Path]], *, has_name: bool) -> dict[str, Input]:
    """Return the recording of each output file, keyed by :func:`abspath_key`.

    Args:
        files: recordings, each with a file that it would be written to.
        has_name: whether the user can choose the files' names, with ``--name``.

    Raises:
        UsageError: two recordings would be written to one file.
    """
    owners: dict[str, Input] = {}
    for recording, target in files:
        owner = owners.setdefault(abspath_key(target), recording)
        if owner.label != recording.label:
            told_apart = has_name and owner.path.suffix != recording.path.suffix
            remedy = (
                "put {suffix} in --name" if told_apart else "name the folder that both are in, or give each an --out"
            )
            raise UsageError(f"{owner.label} and {recording.label} would both be written to {target}; {remedy}")
    return owners
