"""The allowed number of speakers of a conversation."""

from typing import NamedTuple

from septool.errors import UsageError
from septool.limits import MOST_PEOPLE, is_at_most

MOST_SPEAKERS = 20  # in a recording whose number of speakers is not given
TRACKS = 2  # outputs of a separator of conversations


class SpeakerCount(NamedTuple):
    """Allowed range of the number of speakers."""

    least: int = 1
    most: int = MOST_SPEAKERS

    def describe_shortfall(self, found: int) -> str | None:
        """Return in words that fewer speakers were found than were asked for, if they were."""
        if not 0 < found < self.least:
            return None
        return f"{found} of {self.least} speakers could be told apart; the others talk too little, or too much alike"


def check_tracks(model: str, outputs: int) -> None:
    """Refuse a separator that does not give the two tracks of a conversation.

    Raises:
        UsageError: it has another number of outputs.
    """
    if outputs != TRACKS:
        raise UsageError(f"conversations take a model with {TRACKS} outputs, {model} has {outputs}; name another")


ANY_COUNT = SpeakerCount()
TWO = SpeakerCount(2, 2)


def parse_count(text: str) -> SpeakerCount:
    """Parse ``auto``, a number of speakers or a range such as ``2-6``.

    Raises:
        UsageError: it is none of these.
    """
    if text == "auto":
        return ANY_COUNT
    least, dash, most = text.partition("-")
    if least.isdecimal() and (most.isdecimal() or not dash):
        if not (is_at_most(least, MOST_PEOPLE) and is_at_most(most or least, MOST_PEOPLE)):
            raise UsageError(f"speakers is {text!r}; a conversation has 1 to {MOST_PEOPLE} people")
        count = SpeakerCount(int(least), int(most or least))
        if 1 <= count.least <= count.most:
            return count
    raise UsageError(f"speakers is {text!r}; it can be auto, a number of people such as 3, or a range such as 2-6")
