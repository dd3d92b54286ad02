"""Input recordings, their output paths, and the share of them that this process works on."""

import codecs
import errno
import hashlib
import os
import re
import select
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from string import Formatter

from septool import audio
from septool.batch.output_folder import OutputLists
from septool.errors import AudioError, UsageError
from septool.files import is_folder, is_there, read_bytes
from septool.limits import MOST_SHARDS, is_at_most
from septool.printable import printable

PIPE = "-"
FIELD_FORMAT = re.compile(r"[<>^]?\d{0,2}(\.\d{1,2})?[ds]?")  # such as 02; longer formats would make unbounded names


@dataclass(frozen=True)
class Input:
    """A recording to work on."""

    label: str  # as named by the user; - is standard input
    path: Path
    subfolder: Path = Path()  # below the output folder
    made_of: tuple[Path, ...] = ()  # the recordings, if it is the mixture of a manifest's row and no file

    @property
    def is_pipe(self) -> bool:
        """Whether it is standard input; a row of a manifest may have any id."""
        return self.label == PIPE and not self.made_of

    @property
    def display_name(self) -> str:
        """Its name in messages."""
        return display_name(self.label) if self.is_pipe else printable(self.label)

    @property
    def stem(self) -> str:
        """The stem of the names of its outputs."""
        return "stdin" if self.is_pipe else self.path.stem


def display_name(label: str) -> str:
    """Return the name of a recording in messages."""
    return "standard input" if label == PIPE else printable(label)


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


@dataclass(frozen=True)
class FoundInputs:
    """The recordings that the user's inputs name."""

    recordings: tuple[Input, ...]
    unreadable: tuple[Path, ...] = ()  # subfolders of the searched folders


def find_inputs(names: Sequence[str], report: Callable[[str], None], *, raw: bool = False) -> FoundInputs:
    """List the recordings that inputs name, each once; folders are searched.

    Voices that an earlier run wrote are skipped in a folder with other recordings, unless named explicitly.

    Args:
        names: files, folders, or ``-`` for standard input.
        report: callback for the skipped files.
        raw: search folders for headerless recordings only; the headers of others would be decoded as audio.

    Raises:
        UsageError: a folder without audio files.
        AudioError: a folder that cannot be listed.
    """
    recordings: dict[str, Input] = {}
    own: dict[str, Path] = {}
    others: list[Path] = []
    lists = OutputLists()
    suffixes = audio.RAW_SUFFIXES if raw else audio.readable_suffixes()
    for name in names:
        path = Path(name)
        if name == PIPE or not is_folder(path):
            recordings.setdefault(abspath_key(path), Input(name, path))
            continue
        inside = audio.find_audio_files(path, suffixes)
        outputs = {abspath_key(file): file for file in inside.files if lists.is_output(file)}
        if len(outputs) < len(inside.files):
            own |= outputs
        if not inside.files:
            what = "files of samples without a header" if raw else "audio files"
            raise UsageError(f"{path} holds no {what} ({', '.join(sorted(suffixes))})")
        others += inside.left_out
        for file in inside.files:
            if abspath_key(file) not in own:
                recordings.setdefault(abspath_key(file), Input(str(file), file, file.parent.relative_to(path)))
    if voices := own.keys() - recordings.keys():
        report(f"{len(voices)} files are left out: they are voices that septool wrote")
    if left_out := audio.describe_left_out([path for path in others if not is_folder(path)]):
        report(left_out)
    return FoundInputs(tuple(recordings.values()), tuple(path for path in others if is_folder(path)))


def one_or_several(names: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """Return names as a list, wrapping a single name."""
    return [names] if isinstance(names, str | Path) else names


def path_or_none(name: str | Path | None) -> Path | None:
    """Return a path, or None if no name is given."""
    return None if name is None else Path(name)


def list_inputs(inputs: str | Path | Sequence[str | Path], from_file: str | None) -> list[str]:
    """Return the names from the arguments and from a list file.

    Raises:
        UsageError: there are none, or standard input is both the list and a recording.
    """
    named = [*map(str, one_or_several(inputs)), *(read_input_list(from_file) if from_file is not None else ())]
    if not named:
        raise UsageError("nothing to work on; name recordings or folders, or a list of them with --from-file")
    if from_file == PIPE and PIPE in named:
        raise UsageError("--from-file - takes standard input for the list; it cannot be a recording, too")
    return named


def read_input_list(name: str) -> list[str]:
    """Read names of recordings from a file or standard input (``-``), separated by newlines or NULs.

    Raises:
        UsageError: it cannot be read, or names nothing.
    """
    try:
        content = sys.stdin.buffer.read() if name == PIPE else read_bytes(Path(name))
    except OSError as error:
        raise UsageError(f"--from-file {printable(name)} cannot be read: {error.strerror}") from None
    content = content.removeprefix(codecs.BOM_UTF8)  # written by some editors on Windows
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    names = [os.fsdecode(line) for line in lines if line]
    if not names:
        raise UsageError(f"--from-file {printable(name)} names no recordings")
    return names


def abspath_key(path: Path) -> str:
    """Return a key shared by all paths to one file, through whatever links to its folder.

    A file that is a link is told from what it leads to, since a voice would replace the link.
    """
    folder, ignores_case = _real_folder(str(Path.cwd() / path.parent))
    key = str(Path(folder) / path.name)
    return unicodedata.normalize("NFC", key).casefold() if ignores_case else key


def keys_read(path: Path) -> set[str]:
    """Return the keys of what must not be replaced while a recording is read: its own, and of a link, what it leads to.

    See :func:`abspath_key`.
    """
    return {abspath_key(path)} | ({abspath_key(Path(os.path.realpath(path)))} if path.is_symlink() else set())


@lru_cache(maxsize=2**14)  # of many recordings in few folders, on a disk that may be far away
def _real_folder(folder: str) -> tuple[str, bool]:
    """Return where a folder is, and whether names of files in it differ in more than their case."""
    real = os.path.realpath(folder)
    return real, _ignores_case(Path(real))


def _ignores_case(folder: Path) -> bool:
    """Return whether a folder is found under its name in other case, as on macOS and Windows; there may be none yet."""
    other = folder.parent / folder.name.swapcase()
    if folder.name and (str(other) == str(folder) or not is_there(folder)):
        return _ignores_case(folder.parent)
    with suppress(OSError):
        return bool(folder.name) and os.path.samestat(folder.lstat(), other.lstat())  # a link is not the folder
    return False


def looks_like_file(out: str) -> bool:
    """Return whether ``out`` has the suffix of a recording and is no existing folder."""
    return Path(out).suffix.lower() in audio.SUFFIXES | audio.FOREIGN and not is_folder(Path(out))


def check_references_kept(references: Sequence[Path], jobs: Sequence[Job]) -> None:
    """Refuse voices that would overwrite references or enrollments."""
    kept = {reference.resolve(): reference for reference in references}
    for job in jobs if kept else ():
        for target in job.targets:
            if target.resolve() in kept:
                reference = kept[target.resolve()]
                raise UsageError(f"--reference {reference} would be replaced by the voice of {job.label}; use --out")


def check_pipe(out: str, inputs: Sequence[Input]) -> None:
    """Refuse settings that do not go with standard output."""
    if out == PIPE and len(inputs) != 1:
        raise UsageError(f"--out - takes one input, {len(inputs)} were given")
    check_not_terminal(out)


def check_not_terminal(out: str) -> None:
    """Refuse audio on a terminal."""
    if out == PIPE and sys.stdout.isatty():
        raise UsageError("--out - writes audio, and standard output is a terminal; send it to a file or a program")


def plan_jobs(
    inputs: Sequence[Input],
    explicit: Sequence[str],
    *,
    out: str,
    name: str,
    suffix: str,
    voices: int | Sequence[str],
    model: str,
    count_channels: Callable[[Input], int] | None = None,
    force: bool = False,
) -> JobPlan:
    """Assign output files to the voices of every recording; none yet for standard output.

    A file found in a folder that is itself the voice of another recording there is skipped, so that
    a folder can be separated into itself twice; recordings named explicitly are not.

    Args:
        inputs: the recordings.
        explicit: what the user named.
        out: the output folder, or ``-``.
        name: file name, made of ``{stem}``, ``{suffix}``, ``{voice}`` and ``{model}``.
        suffix: of the files, without a dot.
        voices: number of files per recording, or the name of each.
        model: the checkpoint's name.
        count_channels: returns the number of channels of a recording, if each channel gets files of its own with
            ``{channel}`` in their names.
        force: replace existing files.

    Raises:
        UsageError: two voices would get the same file, or a recording would be replaced by a voice.
    """
    if out == PIPE:
        return JobPlan(tuple(Job(**vars(each)) for each in inputs))
    jobs: list[Job] = []
    for recording in inputs:
        channels = count_channels(recording) if count_channels else None
        targets = format_targets(recording, out, name, suffix, voices, model, channels)
        jobs.append(Job(**vars(recording), targets=targets))
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


def format_targets(
    recording: Input,
    out: str,
    name: str,
    suffix: str,
    voices: int | Sequence[str],
    model: str,
    channels: int | None = None,
) -> tuple[Path, ...]:
    """Return the files of a recording's voices, channel after channel; arguments as for :func:`plan_jobs`."""
    parts = {"stem": recording.stem, "suffix": recording.path.suffix[1:], "model": model}
    numbered = "{voice}" if channels is None else "{channel}, {voice}"
    texts = {*parts} if isinstance(voices, int) else {*parts, "voice"}
    try:
        own = {"voice"} if channels is None else {"voice", "channel"}
        for _, field, spec, conversion in Formatter().parse(name):
            known = field is None or (field in {*parts, *own} and not conversion)
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
    if any(PurePath(each).is_absolute() or ".." in PurePath(each).parts for each in names):
        raise UsageError(f"--name {name!r} leads out of the output folder; use --out")
    return tuple(Path(out) / recording.subfolder / f"{each}.{suffix}" for each in names)


class _AnyVoice:
    """Placeholder in a file name for a voice that is not known yet."""

    def __format__(self, spec: str) -> str:
        return f"{{voice:{spec}}}" if spec else "{voice}"


def format_pattern(recording: Input, name: str, suffix: str, model: str) -> str:
    """Return a file name pattern with all but the voice filled in, to find the voices of a recording again.

    Arguments as for :func:`plan_jobs`, which refuses names that cannot be formatted.
    """
    parts = {"stem": recording.stem, "suffix": recording.path.suffix[1:], "model": model}
    return f"{name.format(voice=_AnyVoice(), **parts)}.{suffix}"


def select_shard(jobs: Sequence[Job], shard: str | None) -> list[Job]:
    """Return the shard of the recordings for this machine.

    The shard depends on a recording's path relative to the searched folder alone: machines agree however the folder is
    mounted, and whatever the others have already written.

    Args:
        jobs: all recordings.
        shard: ``I/N``, part I, from 1, of N; all of them without.

    Raises:
        UsageError: it is no such pair of numbers.
    """
    if shard is None:
        return list(jobs)
    if any(job.is_pipe for job in jobs):
        raise UsageError(f"--shard {shard} takes files; standard input is on one machine")
    part, _, parts = shard.partition("/")
    is_pair = part.isdecimal() and parts.isdecimal() and is_at_most(parts, MOST_SHARDS)
    if not (is_pair and is_at_most(part, int(parts)) and int(part) >= 1):
        raise UsageError(f"--shard is {shard!r}; write it as I/N, with I from 1 to N, such as 3/16")

    def shard_of(job: Job) -> int:  # hash() differs between processes
        name = (job.subfolder / job.path.name).as_posix()
        return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()) % int(parts)

    return [job for job in jobs if shard_of(job) == int(part) - 1]


def check_reader() -> None:
    """Check that standard output still has a reader, where the system can tell without writing.

    Raises:
        BrokenPipeError: the reader of the pipe has closed it.
    """
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    with suppress(OSError):  # io.UnsupportedOperation: not a system file
        poll.register(sys.stdout.fileno(), 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def copy_to_stdout(path: Path) -> None:
    """Copy a file to standard output."""
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # the reader has closed the pipe
    except OSError as error:
        raise AudioError(f"standard output cannot be written to: {error.strerror}") from None
