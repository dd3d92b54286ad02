"""Outcomes of recordings: completed, skipped, or failed."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from septool.batch.inputs import Input
from septool.config import JsonDict
from septool.errors import SeptoolError
from septool.inference.findings import Caveat, WithFindings
from septool.printable import printable


@dataclass(frozen=True)
class Failed:
    """A recording or a folder that could not be processed, with the error."""

    outcome: ClassVar[str] = "failed"
    input: str
    error: str

    @classmethod
    def of_folder(cls, folder: Path) -> "Failed":
        """Return the result of a folder that cannot be searched for recordings."""
        return cls(str(folder), f"{printable(folder)} cannot be listed: no permission")

    @classmethod
    def of_error(cls, recording: Input, error: SeptoolError | OSError, local_path: Path) -> "Failed":
        """Return the result of a recording for which an error was raised.

        Args:
            recording: the recording as the user named it.
            error: the exception.
            local_path: the file that was read, a temporary one for standard input.
        """
        name = recording.display_name
        if isinstance(error, OSError):  # a name that is too long, a folder that is not ours
            return cls(recording.label, f"{name}: {error.strerror or error}")
        text = str(error)
        if local_path != recording.path:
            text = text.replace(str(local_path), name)
        return cls(recording.label, text if name in text else f"{name}: {text}")

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A recording whose voices already exist."""

    outcome: ClassVar[str] = "there already"
    input: str
    outputs: tuple[str, ...]

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return asdict(self) | {"skipped": True}


@dataclass(frozen=True, kw_only=True)
class Completed(WithFindings):
    """The result for a recording whose voices were written."""

    input: str
    model: str
    seconds: float  # length of the audio
    elapsed: float  # seconds it took
    rate: int
    channels: int
    clipped: int  # samples over full scale
    gain_db: float = 0.0  # gain on all voices that keeps them within full scale
    findings: tuple[Caveat, ...] = ()  # warnings
    engine: str = "torch"  # inference engine
    dtype: str = "fp32"  # type of the network's computations

    @property
    def summary(self) -> str:
        """The duration and the processing time in words."""
        return f"{self.seconds:.1f} s in {self.elapsed:.1f} s with {self.model}"

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return asdict(self) | {"findings": [finding.row() for finding in self.findings]}
