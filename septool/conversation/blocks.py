"""Blocks of a recording, one after the other."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

Block = TypeVar("Block")


def mark_last(blocks: Iterable[Block]) -> Iterator[tuple[Block, bool]]:
    """Yield each block with whether it is the last one, which is known once the next has been asked for."""
    iterator = iter(blocks)
    for held in iterator:  # once at most: the inner loop takes the others
        for block in iterator:
            yield held, False
            held = block
        yield held, True
