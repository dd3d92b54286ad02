"""Pictures of spectrograms: what is where in them, and what they take to be drawn."""

from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.reports import spectrograms

RATE = 8000


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """One second of 1000 Hz, then one of 3000 Hz."""
    time = np.arange(RATE) / RATE
    path = tmp_path / "tone.wav"
    audio.write_audio(path, np.concatenate([np.sin(2 * np.pi * pitch * time) for pitch in (1000, 3000)]) / 2, RATE)
    return path


def test_a_spectrogram_shows_which_frequency_is_when(tone: Path) -> None:
    levels = spectrograms.spectrogram(tone)
    assert levels.shape == (spectrograms.ROWS, spectrograms.COLUMNS)
    for column, pitch in ((100, 1000), (800, 3000)):
        assert levels[:, column].argmax() == pytest.approx(pitch / (RATE / 2) * spectrograms.ROWS, abs=1)
        assert levels[spectrograms.ROWS // 2, column] < levels[:, column].max() - 50


def test_a_short_recording_is_decoded_once(tone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MPEG is decoded from its beginning after every step back, and the columns of a short one overlap."""
    monkeypatch.setattr(audio.AudioFile, "seek", lambda *_: pytest.fail("goes back"))
    test_a_spectrogram_shows_which_frequency_is_when(tone)


def test_a_long_recording_is_never_whole_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 45 s the columns fall into place without a remainder, as they do at an hour."""
    audio.write_audio(tmp_path / "long.wav", np.full(45 * RATE, 0.1, dtype=np.float32), RATE)
    read, lengths = audio.AudioFile.read, list[int]()
    monkeypatch.setattr(audio.AudioFile, "read", lambda self, frames: (lengths.append(frames), read(self, frames))[1])
    spectrograms.spectrogram(tmp_path / "long.wav")
    assert len(lengths) == spectrograms.COLUMNS
    assert max(lengths) == 45 * RATE // spectrograms.COLUMNS


@pytest.mark.parametrize("announced", [0, 100 * RATE])
def test_a_picture_is_of_what_is_there_whatever_the_header_says(tone: Path, tmp_path: Path, announced: int) -> None:
    """A stream does not know its length when its header is written, and a file that is cut off had more."""
    expected = spectrograms.spectrogram(tone)
    samples, _ = audio.read_audio(tone)
    audio.write_audio(tmp_path / "stream.flac", samples[0], RATE)
    data = bytearray((tmp_path / "stream.flac").read_bytes())
    data[21:26] = bytes([data[21] & 0xF0 | announced >> 32]) + (announced % 2**32).to_bytes(4, "big")
    (tmp_path / "stream.flac").write_bytes(data)
    np.testing.assert_allclose(spectrograms.spectrogram(tmp_path / "stream.flac"), expected, atol=0.5)


@pytest.mark.parametrize("samples", [1, 200, 3000])
def test_short_recordings_have_pictures(tmp_path: Path, samples: int) -> None:
    audio.write_audio(tmp_path / "short.wav", np.full(samples, 0.1, dtype=np.float32), RATE)
    assert np.isfinite(spectrograms.spectrogram(tmp_path / "short.wav")).all()
    assert spectrograms.spectrogram_png(tmp_path / "short.wav").startswith(b"\x89PNG")


def test_a_column_of_a_long_recording_is_the_mean_of_several_places(tmp_path: Path) -> None:
    ticks = np.zeros(1800 * RATE, dtype=np.float32)  # a column is two seconds, a tick 0.3 s of each
    for second in range(1, 1800, 2):
        ticks[second * RATE : second * RATE + 2400] = 0.1
    audio.write_audio(tmp_path / "ticks.wav", ticks, RATE)
    levels = spectrograms.spectrogram(tmp_path / "ticks.wav").max(axis=0)
    assert np.mean(levels > levels.max() - 20) > 0.9
