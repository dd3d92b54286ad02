"""CAM++: a speaker network with context-aware masking (Wang, Zheng, Chen, Cheng and Chen, Interspeech 2023).

"CAM++: A fast and efficient network for speaker verification using context-aware masking". Two-dimensional convolutions
look for local patterns of a log-Mel spectrogram (section 2.3), densely connected time-delay layers read it on, each
behind a mask that is made of their average input (sections 2.1 and 2.2), and mean and standard deviation
over time become an embedding.

Where the paper leaves a choice, as the published weights of 3D-Speaker want it: features are those of Kaldi (frames of
25 ms every 10 ms, pre-emphasis, Povey's window, triangles on the Mel scale from 20 Hz to 8 kHz), and the mean of each
over the recording is taken away. So a constant factor of a band changes nothing, and a filter that hears nothing, as
all above 4 kHz in a recording of 8 kHz, is zero throughout.

Embeddings of such narrowband recordings have much in common, which has nothing to do with voices, and those of others
something. Both means are ours, measured on training speakers by ``tools/fit_campplus.py``, and the nearer one is taken
away, so that a voice has much the same embedding in either band. That, and not the energy above 4 kHz, tells the bands
apart, since recordings brought to a higher rate have dither or quantization noise there, as loud as quiet speech.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import SpeakerEncoder
from septool.signal.mel import mel_filterbank

FULL_RATE = 16000  # Hz, that the Mel filters reach half of; at lower rates the upper ones hear nothing
PREEMPHASIS = 0.97
FLOOR = 1.1920929e-07  # least energy of a filter before the logarithm


@dataclass(frozen=True, kw_only=True)
class Config:
    """The published weights: the paper's, with a shorter embedding."""

    rate: int = 16000
    mels: int = 80
    front: int = 32  # channels of the two-dimensional convolutions
    width: int = 128  # channels of the first time-delay layer
    growth: int = 32  # channels that each layer adds
    bottleneck: int = 128  # channels within a layer
    layers: tuple[int, ...] = (12, 24, 16)  # layers of each block
    dilations: tuple[int, ...] = (1, 2, 2)
    context: int = 100  # frames of 20 ms that are averaged for the mask, beside all of them
    embedding: int = 192

    def __post_init__(self) -> None:
        if self.rate > FULL_RATE:
            raise ValueError(f"rate is {self.rate}; it is at most {FULL_RATE}")
        if len(self.layers) != len(self.dilations):
            raise ValueError(f"layers are {self.layers} and dilations {self.dilations}; there is one for each block")
        if self.mels % 8:
            raise ValueError(f"mels is {self.mels}; it is a multiple of 8")


CONFIGS = {"paper": Config(embedding=512), "3d-speaker": Config()}  # 7.18 million parameters (Table 1)


class KaldiFilterbank(nn.Module):
    """Energies of Mel filters as Kaldi computes them at :data:`FULL_RATE`, as far as the rate reaches."""

    filters: Tensor
    window: Tensor

    def __init__(self, mels: int, rate: int) -> None:
        super().__init__()
        self.frame, self.hop = rate // 40, rate // 100
        self.points = 1 << (self.frame - 1).bit_length()
        filters = mel_filterbank(mels, self.points, rate, FULL_RATE / 2)
        energy = (FULL_RATE / rate) ** 2  # of a tone, in a spectrum of so many points more
        self.register_buffer("filters", energy * filters, persistent=False)
        window = torch.hann_window(self.frame, periodic=False) ** 0.85  # Povey's
        self.register_buffer("window", window, persistent=False)

    def forward(self, recording: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, frame, mel]``: frames within the recording, and at least one."""
        short = max(self.frame - recording.shape[-1], 0)
        frames = F.pad(recording, (0, short)).unfold(-1, self.frame, self.hop)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
        spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * self.window, self.points)
        return spectrum.abs().square() @ self.filters


class ResidualConvolutions(nn.Module):
    """Two convolutions over frequency and time, added to what they read."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, stride)
        self.second = _convolution(channels, channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            convolution = nn.Conv2d(channels, channels, 1, (stride, 1), bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channel, band, frame]`` to as many frames, of ``1 / stride`` of the bands."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def _convolution(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution of three bands and frames, with a stride along the bands, and its normalization."""
    convolution = nn.Conv2d(channels, out, 3, (stride, 1), padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out))


class FrontEnd(nn.Module):
    """Section 2.3: residual convolutions that leave an eighth of the bands."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(1, channels)
        self.blocks = nn.Sequential(*(ResidualConvolutions(channels, stride) for stride in (2, 1, 2, 1)))
        self.last = _convolution(channels, channels, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[batch, frame, mel]`` to ``[batch, channel * mel / 8, frame]``."""
        x = torch.relu(self.first(features.mT[:, None]))
        return torch.relu(self.last(self.blocks(x))).flatten(1, 2)


class MaskedLayer(nn.Module):
    """Section 2.2: a bottleneck and a time-delay layer behind a mask, whose output is joined to the input."""

    def __init__(self, channels: int, config: Config, dilation: int) -> None:
        super().__init__()
        inner = config.bottleneck
        self.segment = config.context
        self.norm = nn.BatchNorm1d(channels)
        self.narrow = nn.Conv1d(channels, inner, 1, bias=False)
        self.narrow_norm = nn.BatchNorm1d(inner)
        self.delay = nn.Conv1d(inner, config.growth, 3, padding=dilation, dilation=dilation, bias=False)
        self.mask_in = nn.Conv1d(inner, inner // 2, 1)
        self.mask_out = nn.Conv1d(inner // 2, config.growth, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channel, frame]`` to ``[batch, channel + growth, frame]``."""
        hidden = torch.relu(self.narrow_norm(self.narrow(torch.relu(self.norm(x)))))
        mask = torch.sigmoid(self.mask_out(torch.relu(self.mask_in(self._context(hidden)))))  # eq. 5
        # A frame's mask is that of its segment.
        spread = mask.repeat_interleave(self.segment, dim=-1)[..., : x.shape[-1]]
        return torch.cat((x, self.delay(hidden) * spread), dim=1)

    def _context(self, hidden: Tensor) -> Tensor:
        """Return the means of each segment and of the whole, added, ``[batch, channel, segment]`` (eqs. 3 and 4)."""
        segments = F.avg_pool1d(hidden, self.segment, self.segment, ceil_mode=True)
        return segments + hidden.mean(-1, keepdim=True)


class VoiceEncoder(nn.Module):
    """From recordings of one speaker each to an embedding."""

    means: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.filterbank = KaldiFilterbank(config.mels, config.rate)
        self.front = FrontEnd(config.front)
        channels = config.width
        first = nn.Conv1d(config.front * config.mels // 8, channels, 5, 2, padding=2, bias=False)
        self.first = nn.Sequential(first, nn.BatchNorm1d(channels), nn.ReLU())
        self.blocks = nn.ModuleList()
        for count, dilation in zip(config.layers, config.dilations, strict=True):
            wider = [channels + number * config.growth for number in range(count + 1)]
            layers = [MaskedLayer(width, config, dilation) for width in wider[:-1]]
            channels = wider[-1] // 2
            halve = nn.Conv1d(wider[-1], channels, 1, bias=False)
            self.blocks.append(nn.Sequential(*layers, nn.BatchNorm1d(wider[-1]), nn.ReLU(), halve))
        self.last_norm = nn.BatchNorm1d(channels)
        self.linear = nn.Linear(2 * channels, config.embedding, bias=False)
        self.norm = nn.BatchNorm1d(config.embedding, affine=False)
        self.register_buffer("means", torch.zeros(2, config.embedding))  # wideband, narrowband

    def forward(self, recording: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, embedding]``."""
        energies = self.filterbank(recording).clamp(min=FLOOR).log()
        x = self.first(self.front(energies - energies.mean(1, keepdim=True)))
        for block in self.blocks:
            x = block(x)
        x = torch.relu(self.last_norm(x))
        several = x.shape[-1] > 1  # one frame has no deviation
        deviation = x.std(-1) if several else torch.zeros_like(x[..., 0])
        projected = self.norm(self.linear(torch.cat((x.mean(-1), deviation), dim=-1)))
        voices = F.normalize(projected, dim=-1)
        return voices - self.means[torch.cdist(voices, self.means).argmin(-1)]


class CAMPlusPlus(SpeakerEncoder[Config]):
    """The encoder as a model. It is used with published weights, and not trained here."""

    loss = "speaker-cross-entropy"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config, self.rate = config, config.rate
        self.embedding = VoiceEncoder(config)

    def forward(self, recording: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, embedding]``."""
        return self.embedding(recording)

    def listen_at(self, rate: int) -> None:
        """Let ``embedding`` hear recordings at another rate, in Hz: at lower ones without what is missing there."""
        if rate < self.rate and not rate % 100:
            self.embedding.filterbank = KaldiFilterbank(self.config.mels, rate)
            self.rate = rate
        else:
            super().listen_at(rate)
