"""Where the contents of a recording contradict its header."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from septool.config import JsonDict


class FindingKind(StrEnum):
    """How a file differs from what it says of itself."""

    CUT_OFF = "cut-off"  # fewer samples than announced, or no end
    HEADER_TOO_SMALL = "header-too-small"  # more samples than announced
    LENGTH_NOT_WRITTEN = "length-not-written"  # the header says 0, as if the recorder had been killed
    UNKNOWN_LENGTH = "unknown-length"  # the header says that nobody knew, as writers to pipes do
    GAP = "gap"  # a part that cannot be decoded
    MORE_SAMPLES = "more-samples"  # a second stretch of samples, which a container may not have


@dataclass(frozen=True)
class Finding:
    """One difference between a file and its header; all samples that can be decoded are used nevertheless."""

    kind: FindingKind
    rate: int  # Hz
    frames: int  # samples per channel that were decoded; of a gap, those before the first one
    header_frames: int | None = None  # announced; None where nothing is
    lost_bytes: int = 0  # in gaps
    count: int = 1  # gaps

    @property
    def is_partial(self) -> bool:
        """Say whether something of the recording is missing."""
        return self.kind in (FindingKind.CUT_OFF, FindingKind.GAP, FindingKind.MORE_SAMPLES)

    @property
    def is_harmless(self) -> bool:
        """Say whether it is how things are done, and nothing a listener has to know."""
        return self.kind == FindingKind.UNKNOWN_LENGTH

    def describe(self, name: str) -> str:
        """Return one line for people; ``name`` is how the recording is called."""
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
