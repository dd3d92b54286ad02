"""BLSTM-TasNet: the first time-domain audio separation network (Luo and Mesgarani, ICASSP 2018).

"TasNet: time-domain audio separation network for real-time, single-channel speech separation". A gated
encoder turns windows of the waveform into non-negative weights of basis signals, a deep bidirectional
LSTM shares each weight out among the sources.

Where this differs from the paper, or the paper leaves a choice:

- The paper cuts the waveform without overlap and scales every piece to unit norm. Later tables list
  the network with a stride of 20 samples, so windows overlap by half here; they keep their level.
- The public implementation that is compared against has sigmoid masks, normalizes over all frames and
  has no skip connection; the first two are settings, and two layers have no skip connection anyway.
- The same tables print 23.6 M parameters; the layers as described have 23.1 M, 2 % less.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from septool.models.base import Separator, SeparatorConfig
from septool.models.layers.codec import Decoder, Encoder
from septool.models.layers.norms import GlobalLayerNorm
from septool.models.layers.recurrent import LSTM


@dataclass(frozen=True, kw_only=True)
class Config(SeparatorConfig):
    """The non-causal system, TasNet-BLSTM."""

    filters: int = 500  # N
    window: int = 40  # L, samples; the stride is L / 2
    hidden: int = 500  # LSTM units a direction
    layers: int = 4  # even
    mask: Literal["softmax", "sigmoid"] = "softmax"
    norm: Literal["frame", "global"] = "frame"  # over the filters alone or over all frames too

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers % 2:
            raise ValueError(f"layers is {self.layers}; skip connections go around pairs of them")


CONFIGS = {"paper": Config()}


class GatedEncoder(nn.Module):
    """Section 2.2.1: non-negative weights ``ReLU(U x) * sigmoid(V x)`` of the basis signals."""

    def __init__(self, filters: int, window: int) -> None:
        super().__init__()
        self.relu = Encoder(filters, window)  # U
        self.sigmoid = Encoder(filters, window)  # V

    def forward(self, mixture: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, frame, filter]``."""
        return torch.relu(self.relu(mixture)) * torch.sigmoid(self.sigmoid(mixture))


class BLSTMTasNet(Separator[Config]):
    """The whole network: gated encoder, LSTM layers in pairs, masks, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        filters, hidden = config.filters, config.hidden
        self.encoder = GatedEncoder(filters, config.window)
        self.norm = GlobalLayerNorm(filters) if config.norm == "global" else nn.LayerNorm(filters, eps=1e-8)
        self.lstms = nn.ModuleList(
            LSTM(2 * hidden if pair else filters, hidden, num_layers=2, batch_first=True, bidirectional=True)
            for pair in range(config.layers // 2)
        )
        self.mask = nn.Linear(2 * hidden, config.sources * filters)
        self.mask_activation = nn.Softmax(dim=-2) if config.mask == "softmax" else nn.Sigmoid()
        self.decoder = Decoder(filters, config.window)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate ``[batch, time]`` into ``[batch, source, time]``."""
        encoded = self.encoder(mixture)  # [B, K, N]
        x, _ = self.lstms[0](self.norm(encoded))  # [B, K, 2 hidden]
        for lstm in self.lstms[1:]:
            x = lstm(x)[0] + x  # identity skip connections, from the second layer on
        masks = self.mask_activation(self.mask(x).unflatten(-1, (self.config.sources, -1)))  # [B, K, C, N]
        return self.decoder(encoded[:, None] * masks.transpose(1, 2), mixture.shape[-1])
