"""Sizes of a Conv-TasNet from the shapes of its weights, whatever toolkit they are from."""

from septool.config import JsonDict
from septool.errors import CheckpointError
from septool.interop.tensors import Tensors, count_children

CONV_BLOCK = ("expand", "prelu1", "norm1", "depthwise", "prelu2", "norm2")  # numbered in most implementations


def infer_sizes(weights: Tensors, stack: int) -> JsonDict:
    """Read the sizes off renamed tensors; the shapes do not say where a stack of ``stack`` blocks ends."""
    filters, _, window = weights["encoder.basis.weight"].shape
    total = count_children(weights, "blocks")
    if total % stack:
        raise CheckpointError(f"{total} blocks are no whole number of stacks of {stack}")
    skip = weights.get("blocks.0.skip.weight")
    return {
        "sources": len(weights["mask.1.weight"]) // filters,
        "filters": filters,
        "window": window,
        "bottleneck": len(weights["bottleneck.weight"]),
        "hidden": len(weights["blocks.0.expand.weight"]),
        "skip": 0 if skip is None else len(skip),
        "kernel": weights["blocks.0.depthwise.weight"].shape[-1],
        "blocks": stack,
        "repeats": total // stack,
    }
