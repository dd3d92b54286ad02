"""Row-wise layers applied to part of the rows at a time, so that activations stay in a processor's cache."""

from collections.abc import Callable

import torch
from torch import Tensor

PART = 2**19  # values of a part, 2 MB in float32; a layer's widest tensor is four to eight times as large


def in_parts(layer: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a layer to rows as often as it takes for each call to fit a processor's cache.

    On other devices, where gradients are wanted and while a graph is recorded it is one call.

    Args:
        layer: maps ``[row, ...]`` to as many rows, each by itself.
        rows: ``[row, ...]``.

    Returns:
        What the layer gives for all rows, ``[row, ...]``.
    """
    count = -(-rows.numel() // PART)
    if count < 2 or rows.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return layer(rows)
    return torch.cat([layer(part) for part in rows.tensor_split(count)])
