"""``septool separate``: voices that add up to the recording, and what becomes of samples over full scale."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from septool import audio
from tests.conftest import RATE, Command

SEGMENT = ("--segment", "1.25", "--overlap", "0.5")


@pytest.fixture
def separate(septool: Command, tiny_checkpoint: Path, tmp_path: Path) -> Command:
    def command(*arguments: object, stdin: bytes = b""):
        where = () if "-o" in arguments else ("-o", tmp_path / "out")
        return septool("separate", *arguments, "-m", tiny_checkpoint, "-d", "cpu", *where, *SEGMENT, stdin=stdin)

    return command


@pytest.fixture
def loud(call: Path, speech: np.ndarray) -> Path:
    """A recording over full scale, in float samples."""
    mixture = speech.sum(0)
    audio.write_audio(call, 1.5 * mixture / np.abs(mixture).max(), RATE, "FLOAT")
    return call


def read(lines: list[str]) -> np.ndarray:
    return np.concatenate([audio.read_audio(Path(line))[0] for line in lines])


def test_voices_add_up_to_the_recording(separate: Command, call: Path, speech: np.ndarray) -> None:
    audio.write_audio(call, speech.sum(0), RATE, "FLOAT")
    voices = read(separate(call).lines)
    np.testing.assert_allclose(voices.sum(0), speech.sum(0), atol=1e-5)
    loose = read(separate(call, "--no-consistency", "--force").lines)
    assert np.abs(loose.sum(0) - speech.sum(0)).max() > 0.01


def test_samples_over_full_scale(separate: Command, loud: Path, tmp_path: Path) -> None:
    free = json.loads(separate(loud, "--clip", "none", "--json", "-o", tmp_path / "none").lines[0])
    whole = read(free["outputs"])
    peak = np.abs(whole).max()
    assert peak > 1.02
    assert (free["clipped"], free["gain_db"]) == (0, 0)
    assert {soundfile.info(path).subtype for path in free["outputs"]} == {"FLOAT"}

    set_to_it = json.loads(separate(loud, "--json", "--format", "flac", "-o", tmp_path / "clamp").lines[0])
    np.testing.assert_allclose(read(set_to_it["outputs"]), np.clip(whole, -1, 1), atol=2**-14)
    assert set_to_it["clipped"] == (np.abs(whole) > 1).sum()

    result = separate(loud, "--clip", "rescale", "--json", "--format", "flac", "-o", tmp_path / "rescale")
    lowered = json.loads(result.lines[0])
    np.testing.assert_allclose(read(lowered["outputs"]), whole / peak, atol=2**-14)
    assert lowered["clipped"] == 0
    assert lowered["gain_db"] == pytest.approx(-20 * np.log10(peak), abs=0.01)
    assert {soundfile.info(path).subtype for path in lowered["outputs"]} == {"PCM_24"}
    assert [finding["kind"] for finding in lowered["findings"]] == ["rescaled"]
    assert f"its voices went over full scale; all were lowered by {-lowered['gain_db']:.1f} dB" in result.errors[-1]


def test_voices_below_full_scale_keep_their_level(separate: Command, call: Path, tmp_path: Path) -> None:
    plain = read(separate(call).lines)
    result = separate(call, "--clip", "rescale", "-o", tmp_path / "rescale")
    np.testing.assert_array_equal(read(result.lines), plain)
    assert not any("lowered" in line for line in result.errors)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--clip", "none", "--format", "flac"], "--clip none takes a format with float samples, such as wav"),
        (["--clip", "rescale", "--stream"], "--clip rescale listens to a whole recording first; leave out --stream"),
        (["--clip", "none", "--speakers", "2"], "--clip none is not for conversations; leave out --speakers"),
        (["--no-consistency", "--speakers", "2"], "--no-consistency is not for conversations"),
        (["--speakers", "2"], "--segment 1.25 is not for conversations; leave out --speakers"),
        (["--clip", "softly"], "softly"),
    ],
)
def test_wrong_usage(separate: Command, call: Path, arguments: list[str], said: str) -> None:
    result = separate(call, *arguments)
    assert result.status == 2
    assert said in result.errors[-1]
