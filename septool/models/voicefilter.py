"""VoiceFilter: a mask for the speaker of an enrollment recording (Wang et al., Interspeech 2019).

"VoiceFilter: targeted voice separation by speaker-conditioned spectrogram masking". Convolutions over the
spectrogram, the speaker's embedding appended to every frame, a bidirectional LSTM, a mask.

Where paper and practice differ:

- The row ``paper`` is the one that Atss-Net's Table 3 compares with: 257 bins, a 128-d embedding, and
  exactly the 9.45 M parameters printed there, without the speaker network. ``repo`` has the sizes of
  the public implementation by maum-ai, 601 bins and a 256-d embedding.
- The original's embedding comes from an LSTM trained in part on private recordings; here it is Atss-Net's
  speaker network, trained beforehand and then left alone unless ``joint``.
- Batch normalization and the ReLU behind the LSTM are the public implementation's.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from septool.models.base import MaskingExtractor
from septool.models.layers.recurrent import DeepBiLSTM
from septool.models.layers.speaker import SpeakerConfig, SpeakerEmbedding
from septool.signal.stft import Analysis


@dataclass(frozen=True, kw_only=True)
class Config:
    """The baseline of Atss-Net, Table 3 (7.78 dB SDRi on LibriSpeech mixtures)."""

    fft: int = 512
    window: int = 400  # samples, 25 ms at 16 kHz
    hop: int = 160  # samples
    channels: int = 64  # channels of the convolutions
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)  # in time, of the 5x5 convolutions
    maps: int = 8  # channels that the LSTM reads
    hidden: int = 400  # LSTM units a direction
    dense: int = 600
    speaker: SpeakerConfig = field(default_factory=SpeakerConfig)
    joint: bool = False  # train the speaker network as well


CONFIGS = {
    "paper": Config(),
    "repo": Config(fft=1200, speaker=SpeakerConfig(embedding=256)),
    "8k": Config(fft=256, window=200, hop=80, speaker=SpeakerConfig(rate=8000)),
}


def conv_layer(inputs: int, outputs: int, kernel: tuple[int, int], dilation: int = 1) -> nn.Sequential:
    """Build one layer over ``[batch, channel, frame, bin]``, dilated in time, that keeps the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, dilation=(dilation, 1), padding="same"),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class MaskNetwork(nn.Module):
    """Table 1: from magnitudes and an embedding to a mask."""

    def __init__(self, bins: int, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.convolutions = nn.Sequential(
            conv_layer(1, channels, (1, 7)),
            conv_layer(channels, channels, (7, 1)),
            *(conv_layer(channels, channels, (5, 5), dilation) for dilation in config.dilations),
            conv_layer(channels, config.maps, (1, 1)),
        )
        self.lstm = DeepBiLSTM(config.maps * bins + config.speaker.embedding, config.hidden, layers=1, dropout=0.0)
        self.dense = nn.Linear(2 * config.hidden, config.dense)
        self.out = nn.Linear(config.dense, bins)

    def forward(self, magnitude: Tensor, embedding: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, embedding]`` to ``[batch, frame, bin]``, between 0 and 1."""
        maps = self.convolutions(magnitude[:, None])  # [B, 8, T, F]
        voice = embedding[:, None].expand(-1, magnitude.shape[1], -1)
        read = self.lstm(torch.cat((maps.transpose(1, 2).flatten(2), voice), dim=-1))  # [B, T, 2H]
        return torch.sigmoid(self.out(torch.relu(self.dense(torch.relu(read)))))


class VoiceFilter(MaskingExtractor[Config]):
    """The whole system: speaker embedding, mask, the mixture's phase."""

    loss = "compressed-l2"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop, config.window, "hann")
        self.speaker = SpeakerEmbedding(config.speaker, frozen=not config.joint)
        self.network = MaskNetwork(self.analysis.bins, config)

    def mask(self, spectrum: Tensor, embedding: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, embedding]`` to ``[batch, frame, bin]``."""
        return self.network(spectrum.abs(), embedding)
