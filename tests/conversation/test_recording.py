"""Conversations in files: whoever asked can give up at any time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from septool import workers
from septool.conversation.recording import diarize_file
from septool.conversation.separation import ConversationSeparator
from septool.conversation.speaker_embedder import SpeakerEmbedder
from septool.conversation.statistics import CAMPPLUS
from septool.errors import InterruptedBySignal, SeptoolError
from tests.conftest import RATE, voice, write


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    return write(tmp_path / "stereo.wav", np.stack([voice(110), voice(210)]))


def conversation(heard: list[int]) -> ConversationSeparator:
    def separate(mixture: np.ndarray) -> np.ndarray:
        heard.append(len(mixture))
        return np.stack([mixture, 0 * mixture])

    return ConversationSeparator(separate, SpeakerEmbedder(lambda _: np.ones(2), RATE, CAMPPLUS), RATE)


def test_one_can_give_up_while_channels_are_compared(stereo: Path) -> None:
    """That reads all of a recording, before anything is separated."""
    heard: list[int] = []
    told: list[tuple[float, float]] = []

    def follow(*seconds: float) -> None:
        told.append(seconds)  # type: ignore[arg-type]
        raise SeptoolError("enough")

    with conversation(heard) as separator, pytest.raises(SeptoolError, match="enough"):
        diarize_file(stereo, separator, progress=follow)
    assert (told, heard) == ([(0.0, 3.0)], [])


def test_a_signal_is_heard_while_channels_are_compared(stereo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr(workers, "_signal", "SIGTERM")
    with conversation(heard) as separator, pytest.raises(InterruptedBySignal):
        diarize_file(stereo, separator)
    assert heard == []


def test_one_can_give_up_while_voices_are_embedded(stereo: Path) -> None:
    """Which follows when all is separated, and takes minutes for hours."""
    embedded: list[int] = []

    def embed(samples: np.ndarray) -> np.ndarray:
        embedded.append(len(samples))
        return np.ones(2)

    def give_up(done: float, total: float) -> None:
        if done == total and heard:
            told.append(done)
            if len(told) > 1:  # the first says that the recording has been read
                raise SeptoolError("enough")

    heard: list[int] = []
    told: list[float] = []
    separator = conversation(heard)
    separator.embedder = replace(separator.embedder, embed=embed)
    with separator, pytest.raises(SeptoolError, match="enough"):
        diarize_file(stereo, separator, channel=1, progress=give_up)
    assert embedded == []
