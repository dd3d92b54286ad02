"""Contradictions between the contents of a recording and its header."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from septool.config import JsonDict


class FindingKind(StrEnum):
    """Kinds of contradictions between a file and its header."""

    CUT_OFF = "cut-off"  # fewer samples than announced, or no end
    HEADER_TOO_SMALL = "header-too-small"  # more samples than announced
    LENGTH_NOT_WRITTEN = "length-not-written"  # the header says 0, as if the recorder had been killed
    UNKNOWN_LENGTH = "unknown-length"  # the header says that the length is unknown, as written to pipes
    GAP = "gap"  # a part that cannot be decoded
    MORE_SAMPLES = "more-samples"  # a second block of samples, which the container does not allow


@dataclass(frozen=True)
class Finding:
    """A contradiction between a file and its header; all samples that can be decoded are used."""

    kind: FindingKind
    rate: int  # Hz
    frames: int  # decoded samples per channel; for gaps, those before the first one
    header_frames: int | None = None  # announced by the header; None if it has no length
    lost_bytes: int = 0  # skipped in gaps
    count: int = 1  # number of gaps

    @property
    def is_partial(self) -> bool:
        """Return whether a part of the recording is missing."""
        return self.kind in (FindingKind.CUT_OFF, FindingKind.GAP, FindingKind.MORE_SAMPLES)

    @property
    def is_harmless(self) -> bool:
        """Return whether it is common practice and no reason for a warning."""
        return self.kind == FindingKind.UNKNOWN_LENGTH

    def describe(self, name: str) -> str:
        """Return a one-line description; ``name`` is the name of the recording."""
        there = f"{self.frames / self.rate:.1f} s"
        promised = "" if self.header_frames is None else f"{self.header_frames / self.rate:.1f} s"
        match self.kind:
            case FindingKind.CUT_OFF if promised:
                return f"{name} is cut off: its header says {promised}, {there} are there"
            case FindingKind.CUT_OFF:
                return f"{name} has no end: it may be cut off, {there} are there"
            case FindingKind.HEADER_TOO_SMALL:
                return f"{name} has a wrong header: it says {promised}, {there} are there and used"
            case FindingKind.LENGTH_NOT_WRITTEN:
                return f"{name} has a header without a length (was its recorder stopped?); {there} are there and used"
            case FindingKind.UNKNOWN_LENGTH:
                return f"{name} does not say how long it is; {there} are there"
            case FindingKind.MORE_SAMPLES:
                return f"{name} has more samples behind its end, which are left out; the first {there} are used"
            case FindingKind.GAP:
                parts = "a part" if self.count == 1 else f"{self.count} parts"
                size = f" ({self.lost_bytes} bytes)" if self.lost_bytes else ""
                return f"{name} is damaged: {parts}{size} cannot be decoded, the first at {there}"

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return asdict(self) | {"kind": str(self.kind), "is_partial": self.is_partial}
