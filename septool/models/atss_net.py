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

from torch import Tensor

from septool.models.base import MaskingExtractor
from septool.models.layers.atss import MaskConfig, MaskNetwork
from septool.models.layers.speaker import SpeakerConfig, SpeakerEmbedding
from septool.signal.stft import Analysis


@dataclass(frozen=True, kw_only=True)
class Config(MaskConfig):
    """Section 4.2 and Table 3 (9.30 dB SDRi on LibriSpeech mixtures)."""

    speaker: SpeakerConfig = field(default_factory=SpeakerConfig)
    joint: bool = False  # train the speaker network as well


CONFIGS = {
    "paper": Config(),
    "no-attention": Config(blocks=0),  # Table 3
    "8k": Config(fft=256, window=200, hop=80, speaker=SpeakerConfig(rate=8000)),
}


class AtssNet(MaskingExtractor[Config]):
    """The whole system: speaker embedding, mask (eq. 4), the mixture's phase (eq. 6)."""

    loss = "spectral-l2"

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop, config.window, "hann")
        self.speaker = SpeakerEmbedding(config.speaker, frozen=not config.joint)
        self.network = MaskNetwork(self.analysis.bins, config.speaker.embedding, config)

    def mask(self, spectrum: Tensor, embedding: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` and ``[batch, embedding]`` to ``[batch, frame, bin]``."""
        return self.network(spectrum.abs(), embedding)[:, 0]
