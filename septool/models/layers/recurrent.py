"""Recurrent layers. Sequences keep their channels last."""

from functools import cache

import torch
from torch import Tensor, nn

from septool.models.layers.norms import GlobalLayerNorm
from septool.models.layers.parts import in_parts


@cache
def _has_bfloat16_lstm() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class LSTM(nn.LSTM):
    """torch's LSTM, which under autocast stays in float32 on processors that have none in bfloat16.

    Those without AVX-512, where oneDNN would raise that it "could not create a primitive descriptor".
    """

    def forward(  # type: ignore[override]
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map ``[batch, time, channel]`` to ``[batch, time, direction * hidden]``, and return the last states too.

        Those are the hidden and the cell's, each ``[layer * direction, batch, hidden]``, as ``hx`` is.
        """
        if input.device.type == "cpu" and torch.is_autocast_enabled("cpu") and not _has_bfloat16_lstm():
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float(), hx)
        return super().forward(input, hx)


class BiLSTM(nn.Module):
    """A bidirectional LSTM along sequences, and a linear map of both directions back to their channels.

    GALR equation 2, DPRNN equations 1, 2 and 7.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lstm = LSTM(channels, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape, all sequences in one call."""
        return in_parts(self._read, x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def _read(self, sequences: Tensor) -> Tensor:
        both, _ = self.lstm(sequences)  # [batch sequence, position, 2 hidden]
        return self.linear(both)


class RecurrentResidual(nn.Module):
    """A bidirectional LSTM along sequences, its output normalized and added to the input.

    GALR equations 2 and 3, DPRNN equations 1 to 6.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.recurrent = BiLSTM(channels, hidden)
        self.norm = GlobalLayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, sequence, position, channel]`` to the same shape."""
        return self.norm(self.recurrent(x)) + x


class DeepBiLSTM(nn.Module):
    """Bidirectional LSTM layers on each other: what the spectrogram-domain systems read a recording with."""

    def __init__(self, channels: int, hidden: int, layers: int, dropout: float) -> None:
        """Drop out between the layers, not behind the last."""
        super().__init__()
        dropout = dropout if layers > 1 else 0.0
        self.lstm = LSTM(channels, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, frame, channel]`` to ``[batch, frame, 2 hidden]``."""
        return self.lstm(x)[0]
