"""The result of separating a conversation."""

from dataclasses import dataclass

from septool.config import JsonDict
from septool.data.turns import rounded
from septool.inference.outcomes import Completed
from septool.signal.turns import Turn


@dataclass(frozen=True, kw_only=True)
class SeparatedConversation(Completed):
    """What became of a recording of a number of people that was not known."""

    outputs: tuple[str, ...]  # a file a person, or - for all of them
    speakers: tuple[str, ...]
    spoken: tuple[float, ...]  # seconds of speech of each
    turns: tuple[Turn, ...]
    activity: str | None = None  # file that says who speaks when
    rest: str | None = None  # file with what is in nobody's track

    @property
    def summary(self) -> str:
        """How many people, and how long it took."""
        people = "1 person" if len(self.speakers) == 1 else f"{len(self.speakers) or 'no'} people"
        return f"{people}; {super().summary}"

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return super().row() | {"turns": [rounded(turn) for turn in self.turns]}
