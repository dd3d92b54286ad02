"""The result of separating a conversation."""

from dataclasses import dataclass

from septool.batch.outcomes import Completed
from septool.config import JsonDict
from septool.data.turns import rounded
from septool.signal.turns import Turn


@dataclass(frozen=True, kw_only=True)
class SeparatedConversation(Completed):
    """The result for a recording with an unknown number of speakers."""

    outputs: tuple[str, ...]  # one file per speaker, or - for all
    speakers: tuple[str, ...]
    spoken: tuple[float, ...]  # seconds of speech per speaker, without the pauses in turns
    turns: tuple[Turn, ...]
    activity: str | None = None  # activity file
    rest: str | None = None  # file with the residual, which is in no speaker's track

    @property
    def summary(self) -> str:
        """The number of speakers, and the processing time."""
        people = "1 person" if len(self.speakers) == 1 else f"{len(self.speakers) or 'no'} people"
        return f"{people}; {super().summary}"

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return super().row() | {"turns": [rounded(turn) for turn in self.turns]}
