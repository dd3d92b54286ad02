"""Atomic writes: a result is written completely or not at all.

A result is written beside its place, under a hidden name that says who writes it, brought to the disk and renamed. What
a writer that was killed left behind is recognized by that name, and :func:`recover` clears it away.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from septool.errors import AudioError
from septool.printable import printable

NAME_LIMIT = 255  # bytes of a file's name, on all common systems
# .NAME.MACHINE-BOOT-PROCESS-TOKEN.partial, and .group for a marker of files that appear together
OWN_NAME = re.compile(
    r"\.(?P<machine>[0-9a-f]{8})-(?P<boot>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.(partial|group)$"
)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place only if the block ends well.

    Its content is on the disk before it does, so that a loss of power leaves the old or the new one, whole.

    Raises:
        AudioError: it cannot be written.
    """
    with atomic_write_group([path]) as (partial,):
        yield partial


@contextmanager
def atomic_write_group(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield a temporary path beside each of ``paths``; all take their places, or none, if the block ends well.

    Between the first and the last of several renames a marker lies beside the first file. :func:`is_pending` tells of
    it, and if the writer is killed there, :func:`recover` ends what it began.

    Raises:
        AudioError: one of them cannot be written.
    """
    partials = [_own_name(path, "partial") for path in paths]
    current = paths[0]
    marker: Path | None = None
    try:
        yield list(partials)
        for path, partial in zip(paths, partials, strict=True):
            current = path
            _to_disk(partial)
        if len(paths) > 1:
            current = paths[0]
            marker = _mark(paths, partials)
        for path, partial in zip(paths, partials, strict=True):
            current = path
            os.replace(partial, path)
        for folder in {path.parent for path in paths}:
            _to_disk(folder)
    except BrokenPipeError:  # another output's: these are files
        raise
    except OSError as error:
        raise AudioError(f"{printable(current)} cannot be written: {error.strerror or error}") from None
    finally:
        # The marker goes last: without it, what is left of a group would be taken for several lone files.
        for path in [*partials, *([marker] if marker else [])]:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def keep_as(path: Path, copy: Path) -> None:
    """Give a file a second name, in the place of what bears it, so that it is kept when the first is replaced.

    At no moment is there nothing under the first name, but on a file system that knows one name per file.

    Raises:
        OSError: the folder cannot be written to.
    """
    partial = _own_name(copy, "partial")
    try:
        os.link(path, partial)
    except OSError:
        os.replace(path, copy)
        return
    try:
        os.replace(partial, copy)
    finally:
        partial.unlink(missing_ok=True)  # it stays where both were names of one file


def recover(folder: Path) -> None:
    """Clear a folder of what writers on this machine left behind that are gone.

    Temporary files are removed, and files whose renaming a killed writer had begun are all renamed. Those of other
    machines, which may share the folder, are left alone.

    Raises:
        AudioError: the folder cannot be listed or written to.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.startswith("."))
        left = [folder / name for name in names if _is_left_behind(name)]
        for marker in (path for path in left if path.suffix == ".group"):
            for partial, path in _read_marker(marker):
                if partial.exists():
                    os.replace(partial, path)
            marker.unlink(missing_ok=True)
        for partial in (path for path in left if path.suffix == ".partial" and path.exists()):
            partial.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise AudioError(f"{printable(folder)} cannot be cleared of unfinished files: {error.strerror}") from None


def is_pending(path: Path) -> bool:
    """Return whether a file is one of several that are being renamed, so that the others appear at once.

    Raises:
        AudioError: its folder cannot be listed.
    """
    try:
        markers = sorted(path.parent.glob(".*.group"))
    except OSError as error:
        raise AudioError(f"{printable(path.parent)} cannot be listed: {error.strerror}") from None
    wanted = os.path.abspath(path)  # noqa: PTH100 - links stay
    return any(wanted == os.path.abspath(member) for marker in markers for _, member in _read_marker(marker))  # noqa: PTH100


def _mark(paths: Sequence[Path], partials: Sequence[Path]) -> Path:
    marker = _own_name(paths[0], "group")
    folder = marker.parent
    pairs = [[os.path.relpath(path, folder) for path in pair] for pair in zip(partials, paths, strict=True)]
    marker.write_text(json.dumps(pairs), encoding="ascii")
    _to_disk(marker)
    _to_disk(folder)
    return marker


def _read_marker(marker: Path) -> list[tuple[Path, Path]]:
    """Return what is renamed to what; nothing if the marker is gone or was not written to its end."""
    try:
        pairs = json.loads(marker.read_text(encoding="ascii"))
        return [(marker.parent / partial, marker.parent / path) for partial, path in pairs]
    except (OSError, ValueError, TypeError):
        return []


def _own_name(path: Path, kind: str) -> Path:
    machine, boot = _this_machine()
    own = f"{machine}-{boot}-{os.getpid()}-{secrets.token_hex(4)}.{kind}"
    name = f".{path.name}.{own}"
    if len(os.fsencode(name)) > NAME_LIMIT:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.{own}"
    return path.with_name(name)


@cache
def _this_machine() -> tuple[str, str]:
    """Return short sums of what processes whose numbers can be compared have in common, and of the last start."""
    space, boot = "", ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return (
        hashlib.sha256(f"{socket.gethostname()}\n{space}".encode()).hexdigest()[:8],
        hashlib.sha256(boot.encode()).hexdigest()[:8],
    )


def _is_left_behind(name: str) -> bool:
    """Return whether a temporary name is that of a process of this machine that is gone."""
    found = OWN_NAME.search(name)
    machine, boot = _this_machine()
    if not found or found["machine"] != machine:
        return False
    return found["boot"] != boot or not _is_alive(int(found["process"]))


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # a signal 0 ends the process there
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _to_disk(path: Path) -> None:
    """Write a file or a folder through to the disk, where the system can."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return
    file = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)  # Windows refuses what is open for reading alone
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot
            raise
    finally:
        os.close(file)
