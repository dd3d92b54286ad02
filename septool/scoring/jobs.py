"""What there is to score, wherever the estimates come from."""

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple

from septool.scoring.items import ScoringInput


def _as_it_is(signals: Any) -> ScoringInput:
    return signals


class ScoringJob(NamedTuple):
    """What there is to score."""

    ids: list[str]  # ids of the items, in order
    rate: int
    tasks: Callable[[Container[str]], Iterator[object]]  # for all items but those with the ids given
    load: Callable[..., ScoringInput] = _as_it_is  # makes the signals of a task, in whatever process scores them
    warnings: Sequence[str] = ()  # estimates that no reference belongs to
