"""GE2E: the voice encoder of generalized end-to-end speaker verification (Wan, Wang, Papir and Lopez Moreno, 2018).

"Generalized end-to-end loss for speaker verification" (ICASSP), section 3.1: an LSTM hears windows of 1.6 s that
overlap by half, its last state is mapped to a vector of length 1, and a recording is the mean of its windows. The sizes
are those of the published weights of Resemblyzer, which project the last layer alone.

Where the paper leaves a choice, as those weights want it:

- Mel energies are not in dB, so level counts: every recording is brought to -30 dBFS. (Resemblyzer does that to quieter
  ones alone, and takes out long pauses; here the level of a recording says nothing, and runs have no pauses.)
- The mapping is followed by a ReLU, so that all directions have much in common: most of an embedding is what any voice
  sounds like.

That common part is taken away by what is ours: a mean, and a whitening of how one speaker's embeddings vary (Hatch,
Kajarekar and Stolcke, "Within-class covariance normalization for SVM-based speaker recognition", Interspeech 2006),
measured on training speakers by ``tools/fit_ge2e.py``. Until they are measured they change nothing.
"""

from dataclasses import dataclass

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from septool.models.base import SpeakerEncoder
from septool.signal.levels import from_db, rms
from septool.signal.stft import Analysis, stft

FULL_RATE = 16000  # Hz, that the Mel filters reach half of; at lower rates the upper ones hear nothing
LEVEL_DB = -30.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """The published weights: 1,423,616 parameters; for recordings of 16 kHz, and of 8 kHz without what is above 4."""

    rate: int = 16000
    mels: int = 40
    hidden: int = 256
    layers: int = 3
    embedding: int = 256
    window: int = 160  # frames of 10 ms that are heard at once

    def __post_init__(self) -> None:
        if self.rate > FULL_RATE:
            raise ValueError(f"rate is {self.rate}; it is at most {FULL_RATE}")


CONFIGS = {"paper": Config(), "8k": Config(rate=8000)}


class VoiceEncoder(nn.Module):
    """From recordings of one speaker each to an embedding."""

    filters: Tensor
    mean: Tensor
    whitening: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.window = config.window
        frame = config.rate // 40
        self.analysis = Analysis(frame, config.rate // 100, frame, "hann")
        self.register_buffer("filters", _mel_filters(config.mels, config.rate), persistent=False)
        self.lstm = nn.LSTM(config.mels, config.hidden, config.layers, batch_first=True)
        self.linear = nn.Linear(config.hidden, config.embedding)
        self.register_buffer("mean", torch.zeros(config.embedding))
        self.register_buffer("whitening", torch.eye(config.embedding))

    def features(self, recording: Tensor) -> Tensor:
        """Map ``[batch, time]`` to the energies of 25 ms every 10 ms, ``[batch, frame, mel]``."""
        level = recording * (from_db(LEVEL_DB) / (rms(recording) + 1e-8))
        return stft(level, self.analysis).abs().square() @ self.filters

    def forward(self, recording: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, embedding]``."""
        windows = self._cut(self.features(recording))  # [B, N, T, M]
        _, (state, _) = self.lstm(windows.flatten(0, 1))
        heard = F.normalize(torch.relu(self.linear(state[-1])), dim=-1).unflatten(0, windows.shape[:2])
        return (F.normalize(heard.mean(1), dim=-1) - self.mean) @ self.whitening

    def _cut(self, features: Tensor) -> Tensor:
        """Cut ``[batch, frame, mel]`` into windows ``[batch, window, frame, mel]`` that overlap by about half.

        The last one ends with the recording; what is shorter than a window is followed by silence.
        """
        frames = features.shape[1]
        if frames <= self.window:
            return F.pad(features, (0, 0, 0, self.window - frames))[:, None]
        count = -(-2 * (frames - self.window) // self.window) + 1
        starts = [round(place * (frames - self.window) / (count - 1)) for place in range(count)]
        return torch.stack([features[:, start : start + self.window] for start in starts], dim=1)


def _mel_filters(count: int, rate: int) -> Tensor:
    """Return Slaney's triangles up to 8 kHz for spectra of 25 ms at ``rate`` Hz, ``[bin, mel]``."""
    frame, full = rate // 40, FULL_RATE // 40  # whose bins are equally far apart
    device = torch.get_default_device()
    with torch.device("cpu"):  # torchaudio's function asks for values, which a meta tensor has not
        filters = torchaudio.functional.melscale_fbanks(
            full // 2 + 1, 0.0, FULL_RATE / 2, count, FULL_RATE, norm="slaney", mel_scale="slaney"
        )
    return (filters[: frame // 2 + 1] * (full / frame) ** 2).to(device)


class GE2E(SpeakerEncoder[Config]):
    """The encoder as a model. It is used with published weights, and not trained here."""

    loss = "speaker-cross-entropy"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config, self.rate = config, config.rate
        self.embedding = VoiceEncoder(config)

    def forward(self, recording: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, embedding]``."""
        return self.embedding(recording)
