"""The record of results, JSON lines by which a later run recognizes finished recordings (``--manifest results.jsonl``).

A row has the recording and its sha256, the written files and theirs, the sha256 of the checkpoint, the settings that
affect the outputs, the processing time, and the findings; for a recording that failed, the error.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from septool.batch.inputs import Input
from septool.batch.outcomes import Completed, Failed
from septool.batch.output_names import Job
from septool.batch.path_keys import abspath_key
from septool.config import JsonDict, JsonMapping
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, parse_json_lines, sha256_of
from septool.printable import printable


@dataclass
class Record:
    """The rows of a record that several runs may append to at once.

    Args:
        path: the file, made if missing.
        model: the checkpoint's name.
        checkpoint_sha256: of its file.
        settings: all other settings that affect the outputs, as plain values.
        accepted: other values of settings whose outputs are equally valid.
    """

    path: Path
    model: str
    checkpoint_sha256: str
    settings: JsonMapping
    accepted: Mapping[str, Sequence[object]] = field(default_factory=dict)
    _rows: dict[str, JsonDict] = field(default_factory=dict)  # by first output; the last row of a key counts
    _size: int = -1  # bytes read so far

    def __post_init__(self) -> None:
        """Read the existing rows.

        Raises:
            UsageError: the path is a folder, or a file of another kind.
        """
        if self.path.is_dir():
            raise UsageError(f"--manifest {printable(self.path)} is a folder; name a file")
        make_folder(self.path.parent)
        self._read()

    def _read(self) -> None:
        """Read all rows, ignoring incomplete lines of killed runs and lines of other programs."""
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise SeptoolError(f"{printable(self.path)} cannot be read: {error.strerror}") from None
        if len(content) == self._size:
            return
        self._size, self._rows = len(content), {}
        for row in parse_json_lines(content):
            with suppress(ValueError, TypeError, KeyError, IndexError, AttributeError):
                first = row["outputs"][0]["path"]
                if _can_be_compared(row):
                    self._rows[abspath_key(Path(os.fsdecode(first.encode("utf-8", "surrogateescape"))))] = row
        if content and not self._rows and b'"input"' not in content:
            raise UsageError(f"--manifest {printable(self.path)} is no list of results; name another file")

    def difference(self, job: Job) -> str | None:
        """Return how the outputs of a job differ from those this run would write; None if they do not."""
        key = abspath_key(job.targets[0])
        if key not in self._rows:
            self._read()  # another run may have written them
        row = self._rows.get(key)
        if row is None:
            return f"{printable(self.path)} does not know it"
        if row["checkpoint_sha256"] != self.checkpoint_sha256:
            return f"it was made by another checkpoint, {printable(row['model'])}"
        before, now = row["settings"], json.loads(json.dumps(self.settings))
        for name in sorted({*before, *now}):
            if before.get(name) not in (now.get(name), *self.accepted.get(name, ())):
                return f"it was made with {name} {before.get(name)}, not {now.get(name)}"
        if row["input_sha256"] is not None and row["input_sha256"] != _sha256_of_input(job):
            return "the recording is not the same any more"
        for output in row["outputs"]:
            if _sha256(Path(output["path"])) != output["sha256"]:
                return f"{printable(output['path'])} is not what was written then"
        return None

    def add(self, result: Completed | Failed, digests: "Digests | None") -> None:
        """Append the result of a recording; ``digests`` if its voices were written.

        Raises:
            SeptoolError: it cannot be written.
        """
        if isinstance(result, Failed) or digests is None:
            self._write({"input": result.input, "error": result.error})
            return
        self._write(
            {
                "input": result.input,
                "input_sha256": digests.input,
                "outputs": digests.outputs,
                "model": self.model,
                "checkpoint_sha256": self.checkpoint_sha256,
                "engine": result.engine,
                "settings": self.settings,
                "seconds": round(result.seconds, 3),
                "elapsed": round(result.elapsed, 3),
                "rtf": round(result.elapsed / result.seconds, 4) if result.seconds else None,
                "findings": [finding.row() for finding in result.findings],
            }
        )

    def _write(self, row: JsonMapping) -> None:
        """Append a row in a single write, so that rows of concurrent runs do not interleave."""
        try:
            with self.path.open("a+b", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(end - 1, 0))
                torn = end and file.read(1) != b"\n"
                line = json.dumps(row, allow_nan=False, default=str).encode() + b"\n"
                file.write(b"\n" + line if torn else line)
        except OSError as error:
            raise SeptoolError(f"{printable(self.path)} cannot be written: {error.strerror}") from None


@dataclass(frozen=True)
class Digests:
    """Digests of a recording and its outputs at completion."""

    input: str | None  # None for standard input
    outputs: tuple[JsonDict, ...]

    @classmethod
    def of(cls, recording: Input, outputs: Sequence[str], sums: Mapping[Path, str]) -> "Digests":
        """Compute the digests of a recording and of the files that were just written, whose sha256 are known."""
        rows = []
        for path in map(Path, outputs):
            facts = {"bytes": path.stat().st_size, "sha256": sums[path]}
            rows.append({"path": str(path.absolute())} | facts)  # independent of the working directory
        return cls(_sha256_of_input(recording), tuple(rows))


def _can_be_compared(row: JsonDict) -> bool:
    """Return whether a row has the keys that :meth:`Record.difference` compares."""
    known = row.keys() >= {"model", "checkpoint_sha256", "settings", "input_sha256"}
    return (
        known
        and isinstance(row["settings"], dict)
        and all(output.keys() >= {"path", "sha256"} for output in row["outputs"])
    )


def _sha256_of_input(recording: Input) -> str | None:
    """Return the sha256 of a recording, or of those of all that it is made of; None for standard input."""
    if recording.made_of:
        return sha256_of(" ".join(str(_sha256(path)) for path in recording.made_of).encode())
    return None if recording.is_pipe else _sha256(recording.path)


def _sha256(path: Path) -> str | None:
    """Return the sha256 of a file; None if it cannot be read."""
    try:
        return sha256_of(path) if path.is_file() else None
    except OSError:
        return None
