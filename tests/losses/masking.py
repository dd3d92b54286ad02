"""A stand-in for spectrogram-domain models in tests of their losses: the answers are given."""

import torch
from torch import Tensor, nn

from septool.signal.stft import Analysis, stft


class Answers(nn.Module):
    """Masks ``[batch, source, frame, bin]`` and embeddings ``[batch, frame, bin, embedding]``, trainable."""

    analysis = Analysis(32, 8)

    def __init__(self, masks: Tensor, embedding: Tensor | None = None) -> None:
        super().__init__()
        self.answer = nn.Parameter(masks)
        self.vectors = nn.Parameter(torch.zeros(0) if embedding is None else embedding)
        self.enhancement: nn.Module | None = None

    def spectrum(self, waves: Tensor) -> Tensor:
        return stft(waves, self.analysis)

    def encode(self, spectrum: Tensor) -> Tensor:
        return spectrum

    def embed(self, spectrum: Tensor) -> Tensor:
        return self.vectors

    def masks(self, spectrum: Tensor) -> Tensor:
        return self.answer

    def estimate_masks(self, state: Tensor) -> Tensor:
        return self.answer

    def cluster(self, spectrum: Tensor, embedding: Tensor) -> Tensor:
        return self.answer


def voices(sources: int = 2, batch: int = 2, samples: int = 400) -> Tensor:
    return torch.randn(batch, sources, samples, generator=torch.Generator().manual_seed(sources))


def spectra(sources: Tensor) -> Tensor:
    return stft(sources, Answers.analysis)
