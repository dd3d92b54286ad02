"""Atss-Net: target speaker separation with attention over time (Li, Lin, Bao and Li, Interspeech 2020).

"Atss-Net: target speaker separation via attention-based neural network". The spectrogram and the speaker's
embedding, appended to every frame as if it were more frequency bins, go through dilated convolutions and
blocks of temporal attention; what comes out is a mask.

Where the paper leaves a choice:

- The embedding has 128 dimensions: the width of the speaker network's last stage, and the only size with
  which the paper's count for VoiceFilter (9.45 M) is met. So F = 257 + 128 = 385.
- Attention runs over time, apart for every frequency, on vectors of d_k = 64 channels: this fits the scale
  of equation 7 and "each head stores the complete temporal information". Each head has its own
  projections; "concatenates ... following the channel axis" makes the input of W^O 2 x 64 channels wide.
- One dilated CNN stands before the blocks, although equation 10 has it inside the attention: one in
  every block would be 5.4 M parameters.
- LayerNorm acts on all channels and frequencies of a frame and has a gain and a bias for each: 4,670,570
  parameters, where the paper prints 4.68 M. With gains for the frequencies alone there are 4,379,510. The
  paper's 0.65 M without attention is met by no reading that was tried (this one: 515,459).
- ReLU stands between the convolutions of Table 1, and a sigmoid at the end.
- The speaker network is trained beforehand and left alone unless ``joint``.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import Extractor
from septool.models.layers_speaker import SpeakerConfig, SpeakerEmbedding
from septool.signal.stft import Analysis, istft, stft


@dataclass(frozen=True, kw_only=True)
class Config:
    """Section 4.2 and Table 3 (9.30 dB SDRi on LibriSpeech mixtures)."""

    fft: int = 512
    window: int = 400  # samples, 25 ms at 16 kHz
    hop: int = 160  # samples
    channels: int = 64  # d_k
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)  # in time, of Table 1's 5x5 convolutions
    blocks: int = 3  # N
    heads: int = 2  # h
    speaker: SpeakerConfig = field(default_factory=SpeakerConfig)
    joint: bool = False  # train the speaker network as well


CONFIGS = {"paper": Config()}


class Convolution(nn.Module):
    """A 2-d convolution over ``[batch, frame, bin, channel]`` that keeps the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        """Dilate in time."""
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, dilation=(dilation, 1), padding="same")

    def forward(self, x: Tensor) -> Tensor:
        # The permuted view is torch's channels-last layout: no copy is made.
        return self.convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class TemporalAttention(nn.Module):
    """Sections 3.2 to 3.4: attention over time for every frequency, heads joined by a 3x3 convolution."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.channels, 3 * config.heads * config.channels)  # W^Q, W^K, W^V, 1x1
        self.out = Convolution(config.heads * config.channels, config.channels, 3)  # W^O

    def forward(self, x: Tensor) -> Tensor:  # [B, T, F, d_k]
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # [B, T, F, 3, h, d_k]
        query, key, value = qkv.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)  # [B F, h, T, d_k] each
        heads = F.scaled_dot_product_attention(query, key, value)  # eq. 7
        joined = heads.unflatten(0, (len(x), -1)).permute(0, 3, 1, 2, 4).flatten(3)  # [B, T, F, h d_k]
        return self.out(joined)  # eq. 8


class FeedForward(nn.Module):
    """Section 3.5: two linear layers along the frequency axis, with four times its width between them."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.expand = nn.Linear(bins, 4 * bins)
        self.contract = nn.Linear(4 * bins, bins)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, F, d_k]
        return self.contract(torch.relu(self.expand(x.mT))).mT  # eq. 12


class AttentionBlock(nn.Module):
    """Temporal attention and feed-forward layer, each normalised first and added to its input (eq. 13)."""

    def __init__(self, bins: int, config: Config) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm([bins, config.channels])
        self.attention = TemporalAttention(config)
        self.feed_norm = nn.LayerNorm([bins, config.channels])
        self.feed = FeedForward(bins)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, F, d_k]
        x = x + self.attention(self.attention_norm(x))  # eq. 11
        return x + self.feed(self.feed_norm(x))


class MaskNetwork(nn.Module):
    """Figure 2: dilated convolutions, N attention blocks, the Transform block."""

    def __init__(self, bins: int, config: Config) -> None:
        super().__init__()
        channels, whole = config.channels, bins + config.speaker.embedding
        layers: list[nn.Module] = []  # Table 1
        for number, dilation in enumerate(config.dilations):
            layers += [Convolution(channels if number else 1, channels, 5, dilation), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, Convolution(channels, channels, 1))
        self.blocks = nn.Sequential(*(AttentionBlock(whole, config) for _ in range(config.blocks)))
        self.dense = nn.Linear(whole, bins)
        self.out = Convolution(channels, 1, 3)

    def forward(self, magnitude: Tensor, embedding: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, embedding]`` to ``[batch, frame, bin]``, between 0 and 1."""
        voice = embedding[:, None].expand(-1, magnitude.shape[1], -1)
        joined = torch.cat((magnitude, voice), dim=-1)[..., None]  # eq. 9, [B, T, F, 1]
        x = self.blocks(self.convolutions(joined))  # [B, T, F, d_k]
        return torch.sigmoid(self.out(self.dense(x.mT).mT)[..., 0])  # eq. 3


class AtssNet(Extractor):
    """The whole system: speaker embedding, mask, the mixture's phase."""

    loss = "spectral-l2"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop, config.window, "hann")
        self.speaker = SpeakerEmbedding(config.speaker, frozen=not config.joint)
        self.network = MaskNetwork(self.analysis.bins, config)

    def extract(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        """Extract a voice from ``mixture [batch, time]``."""
        spectrum = self.spectrum(mixture)
        return istft(self.mask(spectrum, embedding) * spectrum, self.analysis, mixture.shape[-1])  # eqs. 4, 6

    def spectrum(self, waves: Tensor) -> Tensor:
        """Analyse ``[..., time]`` into complex ``[..., frame, bin]``."""
        return stft(waves, self.analysis)

    def mask(self, spectrum: Tensor, embedding: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, embedding]`` to ``[batch, frame, bin]``."""
        return self.network(spectrum.abs(), embedding)
