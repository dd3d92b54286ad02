"""Counting multiply-accumulates (MACs).

One MAC is one product added to a sum: two FLOPs. Counted are matrix products, convolutions, both products
of attention and the gates of LSTMs. Biases, norms, activations and Fourier transforms are not.

Shapes decide, so a network on the meta device, which holds no numbers, is counted in milliseconds. Only
where the data decide how much is done, as for the tokens that Papez halts, the pass has to be a real one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from septool.config import JsonDict

aten = torch.ops.aten


@dataclass(frozen=True)
class Macs:
    """What one forward pass multiplies and accumulates."""

    total: int
    modules: dict[str, dict[str, int]]  # path of a module -> kind of operation -> MACs, its parts' included


def count_macs(model: nn.Module, *inputs: Tensor) -> Macs:
    """Count one forward pass; model and inputs may be on any device, meta included."""
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    # In inference mode the counter gets to see an LSTM or attention whole, not the pieces it is made of.
    with torch.inference_mode(), _Shapes(), counter:
        model(*inputs)
    modules: dict[str, dict[str, int]] = {}
    for path, operations in counter.get_flop_counts().items():
        kinds = modules.setdefault(path, {})
        for operation, flops in operations.items():
            kind = KINDS.get(operation, "product")
            kinds[kind] = kinds.get(kind, 0) + flops // 2
    return Macs(counter.get_total_flops() // 2, modules)


def _lstm_flops(x: Sequence[int], _state: object, weights: Sequence[Sequence[int]], *_: object, **__: object) -> int:
    """Every matrix of every layer and direction meets every position once; vectors are biases."""
    return 2 * prod(x[:2]) * sum(prod(weight) for weight in weights if len(weight) == 2)


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    return sdpa_flop_count(query, key, value)


# The counter takes an operation apart unless it knows the overload, and looks up the formula by the packet.
FORMULAS = {
    aten.lstm: _lstm_flops,
    aten.lstm.input: _lstm_flops,
    aten.scaled_dot_product_attention: _attention_flops,
    aten.scaled_dot_product_attention.default: _attention_flops,
}
KINDS = {
    aten.lstm: "recurrence",
    aten.scaled_dot_product_attention: "attention",
    aten.convolution: "convolution",
}


class _Shapes(TorchDispatchMode):
    """LSTMs on the meta device, where they would be thousands of steps of a dozen operations each."""

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: JsonDict | None = None
    ) -> object:
        if func is not aten.lstm.input or not args[0].is_meta:
            return func(*args, **(kwargs or {}))
        x, (hidden, cell), directions = args[0], args[1], 2 if args[7] else 1
        return x.new_empty(*x.shape[:2], directions * hidden.shape[-1]), hidden, cell
