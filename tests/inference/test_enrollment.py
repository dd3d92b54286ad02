"""Voices that are known: what references make of them, and what is found of them in recordings."""

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from septool.errors import SeptoolError
from septool.inference import enrollment
from septool.inference.accelerators import WindowBatches
from septool.inference.enrollment import KnownVoicesEstimator, embed_references
from septool.inference.level import on_arrays
from septool.models.base import Extraction, Extractor
from tests.conftest import voice

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def extracted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is extracted of segments of one sample each: it, as often as there are voices, at a score that is it too."""

    def extract(_: Extractor, mixture: Tensor, embeddings: Tensor, passes: int) -> Extraction:
        assert passes == 1
        each = mixture[:, None].expand(-1, len(embeddings), -1)
        return Extraction(each, each[..., 0])

    monkeypatch.setattr(enrollment, "extract_mean", extract)


def estimator_of(voices: int, *, each_channel: bool) -> KnownVoicesEstimator:
    return KnownVoicesEstimator(Mock(), torch.zeros(voices, 4), threshold=0.0, each_channel=each_channel)


def test_the_highest_score_is_told_by_channel_or_of_all() -> None:
    segments = [torch.tensor([[0.1], [0.5]]), torch.tensor([[0.7], [0.2]]), torch.tensor([[0.3]])]
    for each, expected in ((True, [(0.7, 0.7), (0.5, 0.5)]), (False, [(0.7, 0.7)])):
        estimator = estimator_of(2, each_channel=each)
        assert estimator.presence() == [()]
        for segment in segments:
            estimator(segment)
        assert estimator.presence(len(expected)) == [pytest.approx(scores) for scores in expected]


def test_what_is_tried_again_has_one_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channels' segments at once, for whose silencing there is no memory: channels keep their scores."""
    estimator = estimator_of(1, each_channel=True)
    where = Tensor.where

    def where_of_one(voices: Tensor, *arguments: Any) -> Tensor:
        if len(voices) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return where(voices, *arguments)

    monkeypatch.setattr(Tensor, "where", where_of_one)
    batches = WindowBatches(on_arrays(estimator, CPU))
    batches.size = 3
    batches(np.array([[0.1], [0.5], [0.2], [0.6]], dtype=np.float32))
    assert estimator.presence(2) == [pytest.approx((0.2,)), pytest.approx((0.6,))]


def test_an_embedding_that_is_no_number_is_none() -> None:
    with pytest.raises(SeptoolError, match="non-finite samples; are its weights damaged"):
        embed_references(nn.Threshold(2.0, np.nan), [voice(110)], CPU)


def test_a_score_that_is_no_number_is_none() -> None:
    estimator = estimator_of(1, each_channel=False)
    with pytest.raises(SeptoolError, match="non-finite samples; are its weights damaged"):
        estimator(torch.tensor([[np.nan]]))
