"""Voices that are known: what references make of them, and what is found of them in recordings."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from septool.errors import SeptoolError
from septool.inference.enrollment import KnownVoicesEstimator, embed_references
from septool.models.base import Extraction, Extractor
from tests.conftest import voice

CPU = torch.device("cpu")


class Known(Extractor[None]):
    """An extractor whose voice is the mixture, at the score that its loudest sample times a hundred is."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.speaker = nn.Identity()

    def extract(self, mixture: Tensor, embedding: Tensor) -> Tensor:
        raise NotImplementedError

    def extract_each(self, mixture: Tensor, embeddings: Tensor) -> Extraction:
        each = mixture[:, None].expand(-1, len(embeddings), -1)
        return Extraction(each, self.factor * each.amax(-1))


def test_an_embedding_that_is_no_number_is_none() -> None:
    with pytest.raises(SeptoolError, match="non-finite samples; are its weights damaged"):
        embed_references(nn.Threshold(2.0, np.nan), [voice(110)], CPU)


def test_a_score_that_is_no_number_is_none() -> None:
    estimator = KnownVoicesEstimator(Known(np.nan), torch.zeros(1, 4), threshold=None)
    with pytest.raises(SeptoolError, match="non-finite samples; are its weights damaged"):
        estimator(torch.from_numpy(voice(110))[None])
