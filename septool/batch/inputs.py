"""Input recordings: those that the user names, on the command line or in a list, and those in folders."""

import codecs
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from septool import audio
from septool.batch.output_folder import OutputLists
from septool.batch.path_keys import abspath_key
from septool.batch.stdio import PIPE
from septool.errors import UsageError
from septool.files import is_folder, read_bytes
from septool.printable import printable


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
