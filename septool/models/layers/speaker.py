"""The speaker embedding that the extractors share: Atss-Net, sections 2.1 and 3.1 (after Cai et al., 2020).

Where the papers leave a choice:

- Speech frames are those within ``speech_db`` of the loudest one.
- Features are made zero-mean over the frames that are left, so that level and channel do not matter.
- Nothing stands between the two linear layers.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from septool.signal.mel import mel_filterbank
from septool.signal.stft import Analysis, stft


@dataclass(frozen=True, kw_only=True)
class SpeakerConfig:
    """Atss-Net, section 3.1."""

    rate: int = 16000  # samples a second
    mels: int = 64
    widths: tuple[int, ...] = (16, 32, 64, 128)  # channels of the stages
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # residual blocks in each stage, as in ResNet-18
    embedding: int = 128
    speech_db: float = 30.0  # below the loudest frame; quieter ones are left out


class SpeechFeatures(nn.Module):
    """64 log-Mel energies of 25 ms every 10 ms, of the frames with speech in them (section 2.1)."""

    filters: Tensor

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__()
        self.speech_db = config.speech_db
        window = config.rate // 40
        points = 1 << (window - 1).bit_length()
        self.analysis = Analysis(points, config.rate // 100, window, "hann")
        self.register_buffer("filters", mel_filterbank(config.mels, points, config.rate), persistent=False)

    def forward(self, recording: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, frame, mel]``."""
        if recording.is_meta:  # a meta tensor has no autocast
            return self._features(recording)
        with torch.autocast(recording.device.type, enabled=False):  # what is quiet is zero in half precision
            return self._features(recording.to(torch.promote_types(recording.dtype, torch.float32)))

    def _features(self, recording: Tensor) -> Tensor:
        power = stft(recording, self.analysis).abs().square()
        energy = 10 * torch.log10(power.sum(-1) + 1e-10)  # dB, [B, L]
        speech = energy >= energy.amax(-1, keepdim=True) - self.speech_db
        features = keep_frames(torch.log(power @ self.filters.to(power.dtype) + 1e-10), speech)
        return (features - features.mean(1, keepdim=True)).to(self.filters.dtype)


def keep_frames(sequence: Tensor, wanted: Tensor) -> Tensor:
    """Keep the wanted frames in their order and repeat them from the first until the length is as before.

    So the items of a batch, of which different numbers are left, still share one shape ``[batch, frame, channel]``.

    Args:
        sequence: ``[batch, frame, channel]``.
        wanted: ``[batch, frame]``, true for at least one frame of each item.
    """
    order = wanted.int().argsort(dim=-1, descending=True, stable=True)  # wanted ones first
    turn = torch.arange(sequence.shape[1], device=sequence.device) % wanted.sum(-1, keepdim=True)
    return sequence.gather(1, order.gather(1, turn)[..., None].expand_as(sequence))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()
        if inputs != outputs or stride != 1:
            self.shortcut.extend((nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channel, frame, bin]`` to ``[batch, output, frame / stride, bin / stride]``."""
        return torch.relu(self.convolutions(x) + self.shortcut(x))


class SpeakerEmbedding(nn.Module):
    """From recordings of one speaker each to an embedding.

    A frozen one is no longer trained: it has no gradients and stays in evaluation mode, whatever happens to
    the model that it is a part of.
    """

    def __init__(self, config: SpeakerConfig, *, frozen: bool = False) -> None:
        super().__init__()
        self.frozen = frozen
        self.features = SpeechFeatures(config)
        inputs = config.widths[0]
        layers: list[nn.Module] = [nn.Conv2d(1, inputs, 3, padding=1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU()]
        for stage, (outputs, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for block in range(blocks):
                halve = stage > 0 and block == 0  # time and frequency
                layers.append(ResidualBlock(inputs, outputs, stride=2 if halve else 1))
                inputs = outputs
        self.resnet = nn.Sequential(*layers)
        self.linear = nn.Linear(2 * inputs, config.embedding)
        self.requires_grad_(not frozen)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen network only evaluates."""
        return super().train(mode and not self.frozen)

    def forward(self, recording: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, embedding]``."""
        maps = self.resnet(self.features(recording)[:, None])  # [B, C, L / 8, F / 8]
        variance, mean = torch.var_mean(maps, dim=(2, 3), correction=0)
        # The root has no gradient at zero, where a channel is silent.
        return self.linear(torch.cat((mean, torch.sqrt(variance + 1e-5)), dim=-1))
