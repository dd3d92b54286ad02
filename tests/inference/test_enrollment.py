"""Voices that are known: what references make of them, and what is found of them in recordings."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from septool import audio
from septool.errors import SeptoolError
from septool.inference import enrollment
from septool.inference.accelerators import WindowBatches
from septool.inference.enrollment import (
    KnownVoicesEstimator,
    Reference,
    embed_references,
    load_reference,
    speech_seconds,
)
from septool.inference.level import embed, on_arrays
from septool.models.base import Extraction, Extractor
from tests.conftest import RATE, voice

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


class Counts(nn.Module):
    """Knows every voice by its number, in the order in which it hears them."""

    heard = 0

    def forward(self, waves: Tensor) -> Tensor:
        self.heard += 1
        return nn.functional.one_hot(torch.tensor([self.heard - 1]), 4).expand(len(waves), -1)


def test_references_count_by_how_long_they_speak() -> None:
    spoken = voice(110, seconds=4.0)
    known = embed_references(Counts(), [spoken, np.pad(spoken[: len(spoken) // 4], (0, 9 * RATE))], RATE, CPU)
    expected = np.array([[speech_seconds(spoken, RATE), speech_seconds(spoken[: len(spoken) // 4], RATE), 0, 0]])
    np.testing.assert_allclose(known, expected / expected.sum(), rtol=1e-6)
    assert known[0, 0] > 2.5 * known[0, 1]


def test_one_reference_alone_is_its_embedding() -> None:
    spoken, network = voice(110), nn.Linear(3 * RATE, 4)
    with torch.inference_mode():
        expected = embed(network, torch.from_numpy(spoken)[None])
    assert torch.equal(embed_references(network, [spoken], RATE, CPU), expected)


def test_a_recording_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To count what an mp3 holds, all of it is walked through."""
    path, asked = tmp_path / "x.wav", []
    audio.write_audio(path, voice(110), RATE)
    audio_info = audio.audio_info
    monkeypatch.setattr(audio, "audio_info", lambda path: asked.append(path) or audio_info(path))
    for reference in (Reference(path), Reference(path, 0.5, 2.5)):
        asked.clear()
        heard = load_reference(reference, RATE)
        assert len(heard) == round(((reference.end or 3.0) - reference.start) * RATE)
        assert asked == [path]


def test_an_embedding_that_is_no_number_is_none() -> None:
    with pytest.raises(SeptoolError, match="non-finite samples; are its weights damaged"):
        embed_references(nn.Threshold(2.0, np.nan), [voice(110)], RATE, CPU)


def test_a_score_that_is_no_number_is_none() -> None:
    estimator = estimator_of(1, each_channel=False)
    with pytest.raises(SeptoolError, match="non-finite samples; are its weights damaged"):
        estimator(torch.tensor([[np.nan]]))


def test_an_offset_is_no_speech() -> None:
    words = np.zeros(8 * RATE, dtype=np.float32)
    words[: RATE // 2] = voice(150.0, seconds=0.5)
    assert speech_seconds(words + np.float32(0.02), RATE) == pytest.approx(speech_seconds(words, RATE))
    assert speech_seconds(np.full(2 * RATE, 0.1, dtype=np.float32), RATE) is None
