"""A wideband recording is told which checkpoint would hear all of it."""

from pathlib import Path

import numpy as np
import pytest

from septool import audio, catalogue
from septool.audio.resampling import resample
from septool.inference.wideband import has_sound_above
from tests.conftest import Command, voice, write


def breath(rate: int, share: float) -> np.ndarray:
    """A voice below 4 kHz, and noise of all frequencies with a share of its power."""
    narrow = resample(voice(150), 8000, rate).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(len(narrow))
    return (narrow + np.sqrt(share * np.mean(narrow**2)) * noise).astype(np.float32)


@pytest.mark.parametrize(("share", "heard"), [(0.0, False), (1e-5, False), (1e-3, True)])
def test_sound_above_the_band_of_a_model_is_found(tmp_path: Path, share: float, heard: bool) -> None:
    path = write(tmp_path / "call.wav", breath(16000, share), 16000, "FLOAT")
    assert has_sound_above(path, 4000) == heard
    assert not has_sound_above(path, 8000)


def test_what_cannot_be_read_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "call.wav").write_bytes(b"no sound")
    assert not has_sound_above(tmp_path / "call.wav", 4000)
    assert not has_sound_above(tmp_path / "absent.wav", 4000)
    assert not has_sound_above(write(tmp_path / "none.wav", np.zeros(0), 16000), 4000)


def test_the_checkpoint_that_is_named_fits() -> None:
    for sources, name in ((1, "tflocoformer-dns-enhancement-16k"), (2, "convtasnet-libri2mix-clean-16k")):
        assert catalogue.suggest_wider(sources, 8000) == f"--model {name} works up to 8000 Hz"
        entry = catalogue.read_catalogue()[name]
        assert (entry.sources, entry.sample_rate) == (sources, 16000)
    assert catalogue.suggest_wider(2, 16000) is None
    assert catalogue.suggest_wider(7, 8000) is None


def test_separate_says_it_once_and_not_when_it_is_quiet(
    septool: Command, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    wide = [write(tmp_path / f"{name}.wav", breath(16000, 0.01), 16000) for name in "ab"]
    hint = "septool: there is sound above 4000 Hz; --model convtasnet-libri2mix-clean-16k works up to 8000 Hz"
    command = ("separate", "-m", tiny_checkpoint, "-o", tmp_path / "out", "--force")
    assert septool(*command, *wide).errors.count(hint) == 1
    assert septool(*command, *wide, "-q").errors == []
    narrow = write(tmp_path / "narrow.wav", breath(16000, 0.0), 16000, "FLOAT")
    assert hint not in septool(*command, narrow).errors
    audio.write_audio(tmp_path / "call.wav", voice(150), 8000)
    assert hint not in septool(*command, tmp_path / "call.wav").errors


def test_of_many_channels_a_second_is_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "call.wav", np.tile(breath(16000, 1e-3), 2), 16000, "FLOAT")
    read, lengths = audio.AudioFile.read, list[int]()
    monkeypatch.setattr(audio.AudioFile, "read", lambda self, frames: (lengths.append(frames), read(self, frames))[1])
    assert has_sound_above(path, 4000)
    assert set(lengths) == {16000}
