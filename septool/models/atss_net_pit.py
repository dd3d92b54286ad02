"""Atss-Net (PIT): Atss-Net with a mask for each voice instead of an enrollment (Li, Lin, Bao and Li, Interspeech 2020).

The separator of Table 3: "the same architecture", without the speaker embedding as input, under
permutation-invariant training. The 4.68 M parameters printed for both are met only if the embedding's place
stays, so it stands there as zeros.
"""

from dataclasses import dataclass

from torch import Tensor

from septool.models.base import MaskingSeparator, SeparatorConfig
from septool.models.layers.atss import MaskConfig, MaskNetwork
from septool.signal.stft import Analysis


@dataclass(frozen=True, kw_only=True)
class Config(MaskConfig, SeparatorConfig):
    """Table 3 (8.57 dB SDRi on LibriSpeech mixtures, at 16 kHz)."""

    embedding: int = 128  # zeros


CONFIGS = {"paper": Config()}


class AtssNetPIT(MaskingSeparator[Config]):
    """The whole network: a mask for each voice, the mixture's phase."""

    loss = "magnitude"
    paper_rate = 16000

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.fft, config.hop, config.window, "hann")
        self.network = MaskNetwork(self.analysis.bins, config.embedding, config, config.sources)

    def masks(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, frame, bin]`` to ``[batch, source, frame, bin]``."""
        magnitude = spectrum.abs()
        return self.network(magnitude, magnitude.new_zeros(len(magnitude), self.config.embedding))
