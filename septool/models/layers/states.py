"""Looking at what leaves the blocks of a network."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def record_outputs(blocks: Iterable[nn.Module], convert: Callable[[Any], Tensor]) -> Iterator[list[Tensor]]:
    """Collect what modules return in the context, in the order in which they are called.

    Args:
        blocks: the modules.
        convert: maps an output to what is kept.
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
