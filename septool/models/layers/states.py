"""Looking at what leaves the blocks of a network."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from septool.signal import frames


@contextmanager
def record_outputs(blocks: Iterable[nn.Module], convert: Callable[[Any], Tensor]) -> Iterator[list[Tensor]]:
    """Collect what modules return in the context, in the order in which they are called.

    Args:
        blocks: the modules.
        convert: maps an output to what is kept, ``[batch, frame, channel]``.
    """
    states: list[Tensor] = []

    def record(_module: nn.Module, _given: object, output: object) -> None:
        states.append(convert(output))

    hooks = [block.register_forward_hook(record) for block in blocks]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def record_segments(blocks: Iterable[nn.Module], size: int, front: int) -> Iterator[list[Tensor]]:
    """Collect what dual-path blocks return in the context, joined to ``[batch, frame, channel]``.

    How many frames of padding are behind the last one is not known here; they are at the end of what is collected.

    Args:
        blocks: modules that return segments ``[batch, segment, size, channel]``.
        size: frames in a segment.
        front: frames of padding before the first one.
    """

    def join(segments: Tensor) -> Tensor:
        count = segments.shape[1] * size // 2 - front
        return 0.5 * frames.overlap_add(segments, count, frames.Padding(front, size // 2))

    with record_outputs(blocks, join) as states:
        yield states
