"""What is to be done: the recordings that inputs name, where their voices go, and which of them are done here."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Formatter
from typing import NamedTuple

from septool import audio
from septool.errors import AudioError, UsageError

PIPE = "-"


class Plan(NamedTuple):
    """A recording and where its voices go."""

    shown: str  # as the user named it
    source: Path
    targets: list[Path]


def find_inputs(inputs: Sequence[str]) -> list[tuple[str, Path, Path]]:
    """List recordings as (as named, file, folder of the outputs below ``out``), each once; folders are searched."""
    found: list[tuple[str, Path, Path]] = []
    for name in inputs:
        path = Path(name)
        if name == PIPE or not path.is_dir():
            found.append((name, path, Path()))
            continue
        inside = audio.find_audio_files(path).files
        if not inside:
            raise UsageError(f"{path} holds no audio files ({', '.join(sorted(audio.SUFFIXES))})")
        found.extend((str(p), p, p.parent.relative_to(path)) for p in inside)
    once: dict[str, tuple[str, Path, Path]] = {}
    for each in found:
        once.setdefault(place(each[1]), each)
    return list(once.values())


def place(path: Path) -> str:
    """Return a name that two paths to one file share, links aside."""
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would ask the disk


def is_like_a_file(out: str) -> bool:
    """Say whether ``out`` is named as a recording is, and is no folder."""
    return Path(out).suffix.lower() in audio.SUFFIXES | audio.FOREIGN and not Path(out).is_dir()


def check_replaced(references: Sequence[Path], plan: Plan) -> None:
    """Refuse voices that would take the place of what they are compared with or known by."""
    for reference in references:
        if any(target.resolve() == reference.resolve() for target in plan.targets):
            raise UsageError(f"--reference {reference} would be replaced by the voice of {plan.shown}; use --out")


def check_pipe(out: str, found: Sequence[tuple[str, Path, Path]]) -> None:
    """Refuse what cannot go to standard output."""
    if out == PIPE and len(found) != 1:
        raise UsageError(f"--out - takes one input, {len(found)} were given")
    check_terminal(out)


def check_terminal(out: str) -> None:
    """Refuse audio on a terminal."""
    if out == PIPE and sys.stdout.isatty():
        raise UsageError("--out - writes audio, and standard output is a terminal; send it to a file or a program")


def make_plans(
    found: list[tuple[str, Path, Path]],
    named: Sequence[str],
    *,
    out: str,
    name: str,
    suffix: str,
    voices: int,
    model: str,
    report: Callable[[str], None],
) -> list[Plan]:
    """Decide where the voices of every recording go: to files, or nowhere yet if to standard output.

    What was found in a folder and is itself the voice of another recording there is left out, so that
    a folder can be separated into itself twice; a recording that was ``named`` is not.

    Raises:
        UsageError: two voices would get the same file, or a recording would be replaced by a voice.
    """
    if out == PIPE:
        return [Plan(shown, source, []) for shown, source, _ in found]
    plans: list[Plan] = []
    makers: dict[str, tuple[str, Path]] = {}  # of a voice: its recording
    for shown, source, below in found:
        stem = "stdin" if shown == PIPE else source.stem
        parts = {"stem": stem, "suffix": source.suffix[1:], "model": model}
        try:
            if not {field for _, field, _, _ in Formatter().parse(name) if field is not None} <= {*parts, "voice"}:
                raise ValueError
            names = [name.format(voice=voice + 1, **parts) for voice in range(voices)]
        except (KeyError, IndexError, ValueError):
            raise UsageError(f"--name {name!r} can use {{stem}}, {{suffix}}, {{voice}} and {{model}} only") from None
        if len(set(names)) < len(names):
            raise UsageError(f"--name {name!r} gives every voice the same file; put {{voice}} in it")
        targets = [Path(out) / below / f"{each}.{suffix}" for each in names]
        for target in targets:
            other, its_source = makers.setdefault(place(target), (shown, source))
            if other != shown:
                remedy = "put {suffix} in --name" if its_source.suffix != source.suffix else "give each its own --out"
                raise UsageError(f"{other} and {shown} would both be written to {target}; {remedy}")
        plans.append(Plan(shown, source, targets))
    kept = []
    for plan in plans:
        maker, _ = makers.get(place(plan.source), (None, None)) if plan.shown != PIPE else (None, None)
        if maker is None:
            kept.append(plan)
        elif maker == plan.shown or plan.shown in named:
            raise UsageError(f"{plan.shown} would be replaced by a voice of {maker}; use --name or --out")
    if len(kept) < len(plans):
        report(f"{len(plans) - len(kept)} files are left out: they are voices of the others")
    return kept


def share(plans: Sequence[Plan], shard: str | None) -> list[Plan]:
    """Return the part of the recordings that is done here, where several machines do one each.

    A recording's name, as the inputs have it, alone decides whose it is: machines agree whatever the others have
    written by the time they look.

    Args:
        plans: all recordings.
        shard: ``I/N``, part I, from 1, of N; all of them without.

    Raises:
        UsageError: it is no such pair of numbers.
    """
    if shard is None:
        return list(plans)
    if any(plan.shown == PIPE for plan in plans):
        raise UsageError(f"--shard {shard} takes files; standard input is on one machine")
    part, _, parts = shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard is {shard!r}; write it as I/N, with I from 1 to N, such as 3/16")

    def owner(plan: Plan) -> int:  # not hash(), which differs from process to process
        return int.from_bytes(hashlib.sha256(os.fsencode(plan.shown)).digest()) % int(parts)

    return [plan for plan in plans if owner(plan) == int(part) - 1]


def named(shown: str) -> str:
    """Return what a recording is called in messages."""
    return "standard input" if shown == PIPE else shown


def to_stdout(path: Path) -> None:
    """Copy a file to standard output."""
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # whoever read has had enough
    except OSError as error:
        raise AudioError(f"standard output cannot be written to: {error.strerror}") from None
