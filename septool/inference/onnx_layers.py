"""ONNX forms of layers: an LSTM as a single node, and accurate sums over long recordings.

torch's exporter would write every step of an LSTM, as many as it was traced with. ONNX has the gates in the order
input, output, forget, cell, torch in that of input, forget, cell, output. A node takes ``X [time, batch, input]``, ``W
[direction, 4 * hidden, input]``, ``R [direction, 4 * hidden, hidden]`` and ``B [direction, 8 * hidden]``, and gives
``Y [time, direction, batch, hidden]``.
"""

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from septool.models.layers.norms import GlobalLayerNorm

Network = TypeVar("Network", bound=nn.Module)


class OnnxLSTM(nn.Module):
    """Replacement for torch's LSTM in a network to be exported; it cannot be run."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.layers, self.hidden, self.batch_first = lstm.num_layers, lstm.hidden_size, lstm.batch_first
        suffixes = ("", "_reverse") if lstm.bidirectional else ("",)
        self.directions = len(suffixes)
        for layer in range(self.layers):

            def gates(name: str, layer: int = layer) -> list[Tensor]:
                return [_reorder(getattr(lstm, f"{name}_l{layer}{suffix}")) for suffix in suffixes]

            self.register_buffer(f"input_{layer}", torch.stack(gates("weight_ih")))
            self.register_buffer(f"hidden_{layer}", torch.stack(gates("weight_hh")))
            if lstm.bias:
                biases = [torch.stack(gates(name)) for name in ("bias_ih", "bias_hh")]
            else:
                biases = [torch.zeros(self.directions, 4 * self.hidden)] * 2
            self.register_buffer(f"bias_{layer}", torch.cat(biases, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Map ``[batch, time, input]``, if so torch's, to the outputs of all directions; states are not given."""
        x = x.transpose(0, 1) if self.batch_first else x
        for layer in range(self.layers):
            weights = (getattr(self, f"{part}_{layer}") for part in ("input", "hidden", "bias"))
            (y,) = torch.onnx.ops.symbolic_multi_out(
                "LSTM",
                (x, *weights),
                {"hidden_size": self.hidden, "direction": "bidirectional" if self.directions == 2 else "forward"},
                dtypes=(x.dtype,),
                shapes=((x.shape[0], self.directions, x.shape[1], self.hidden),),
            )
            x = cast(Tensor, y).permute(0, 2, 1, 3).flatten(2)
        return (x.transpose(0, 1) if self.batch_first else x), None


def _reorder(weight: Tensor) -> Tensor:
    """Bring the gates of ``[4 * hidden, ...]`` from torch's order into that of ONNX."""
    into, forget, cell, out = weight.detach().chunk(4)
    return torch.cat((into, out, forget, cell))


class OnnxGlobalLayerNorm(nn.Module):
    """Replacement for :class:`septool.models.layers.norms.GlobalLayerNorm` with means of means, axis by axis.

    ONNX Runtime sums a LayerNormalization sequentially in single precision; over the two million values of DPRNN in
    8 s, the relative error is 3e-5.
    """

    def __init__(self, norm: GlobalLayerNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.unit = norm.eps**-0.5  # makes eps 1: the exporter rounds 1e-8 to zero, so silence would be NaN

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``[batch, ..., channel]``."""
        centered = (x - _mean(x)) * self.unit
        return centered * torch.rsqrt(_mean(centered.square()) + 1) * self.weight + self.bias


def _mean(x: Tensor) -> Tensor:
    for axis in range(x.dim() - 1, 0, -1):
        x = x.mean(axis, keepdim=True)
    return x


def with_onnx_layers(network: Network) -> Network:
    """Return a copy of a network with the layers of this module; LSTMs with projections stay as they are."""
    copied = copy.deepcopy(network)
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.LSTM) and not child.proj_size:
                setattr(parent, name, OnnxLSTM(child))
            elif isinstance(child, GlobalLayerNorm):
                setattr(parent, name, OnnxGlobalLayerNorm(child))
    return copied
