"""Containers and codecs that ffmpeg and sox write, a second of each: length as ffmpeg decodes it, level as it was.

Where ffmpeg or sox is missing, or does not have the encoder, the row is skipped.
"""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pytest
import soundfile

from septool import audio
from septool.audio.formats import has_av
from septool.errors import AudioError, UsageError
from tests.conftest import voice

RATE = 16000


class Row(NamedTuple):
    """A file that can be made: ffmpeg's arguments, or sox's where the encoder is "sox"."""

    name: str
    encoder: str
    arguments: str = ""
    rate: int = RATE
    needs_av: bool = False
    level_db: float = 1.0  # by which the level may differ


ROWS = [
    Row("s16.wav", "pcm_s16le"),
    Row("s24.wav", "pcm_s24le"),
    Row("s32.wav", "pcm_s32le"),
    Row("u8.wav", "pcm_u8"),
    Row("f32.wav", "pcm_f32le"),
    Row("f64.wav", "pcm_f64le"),
    Row("alaw.wav", "pcm_alaw"),
    Row("mulaw.wav", "pcm_mulaw"),
    Row("ima.wav", "adpcm_ima_wav"),
    Row("ms.wav", "adpcm_ms"),
    Row("long.wav", "pcm_s16le", "-rf64 always"),
    Row("x.w64", "pcm_s16le"),
    Row("x.aiff", "pcm_s16be"),
    Row("s24.aiff", "pcm_s24be"),
    Row("x.au", "pcm_s16be"),
    Row("x.caf", "pcm_s16be"),
    Row("le.caf", "pcm_s24le"),
    Row("x.flac", "flac"),
    Row("x.oga", "flac"),
    Row("x.ogg", "libvorbis"),
    Row("x.opus", "libopus"),
    Row("cbr.mp3", "libmp3lame", "-b:a 64k"),
    Row("vbr.mp3", "libmp3lame", "-q:a 5"),
    Row("bare.mp3", "libmp3lame", "-q:a 5 -write_xing 0 -id3v2_version 0"),
    Row("low.mp3", "libmp3lame", "-b:a 16k", 8000),
    Row("x.mp2", "mp2"),
    Row("x.voc", "sox"),
    Row("x.sph", "sox"),
    Row("x.sf", "sox"),
    Row("x.8svx", "sox", "-b 8"),
    Row("x.m4a", "aac", needs_av=True),
    Row("x.aac", "aac", needs_av=True),
    Row("lossless.m4a", "alac", needs_av=True),
    Row("x.mp4", "aac", "-f mp4 -movflags +faststart", 44_100, needs_av=True),
    Row("opus.mp4", "libopus", rate=48_000, needs_av=True),
    Row("fragments.mp4", "aac", "-f mp4 -movflags frag_keyframe+empty_moov", needs_av=True),
    Row("x.mov", "pcm_s16le", needs_av=True),
    Row("x.mkv", "aac", needs_av=True),
    Row("opus.mka", "libopus", needs_av=True),
    Row("flac.mkv", "flac", needs_av=True),
    Row("vorbis.webm", "libvorbis", needs_av=True),
    Row("x.webm", "libopus", needs_av=True),
    Row("x.wma", "wmav2", needs_av=True),
    Row("old.wma", "wmav1", needs_av=True),
    Row("x.ac3", "ac3", rate=48_000, needs_av=True),
    Row("x.eac3", "eac3", rate=48_000, needs_av=True),
    Row("x.avi", "libmp3lame", needs_av=True),
    Row("x.ts", "aac", needs_av=True),
    Row("x.mpg", "mp2", "-f mpeg", 44_100, needs_av=True),
    Row("x.flv", "libmp3lame", rate=44_100, needs_av=True),
    Row("x.3gp", "aac", "-f 3gp", needs_av=True),
    Row("x.amr", "libopencore_amrnb", rate=8000, needs_av=True, level_db=4.0),
    Row("x.tta", "tta", needs_av=True),
    Row("x.wv", "wavpack", needs_av=True),
    Row("x.dts", "dca", "-strict -2", 48_000, needs_av=True),
    Row("x.spx", "libspeex", needs_av=True, level_db=3.0),
]


def test_the_table_is_long_enough() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 40


@functools.cache
def encoders() -> str:
    return subprocess.run(["ffmpeg", "-v", "error", "-encoders"], capture_output=True, text=True, check=True).stdout


def make(row: Row, source: Path, target: Path) -> None:
    tool = "sox" if row.encoder == "sox" else "ffmpeg"
    if not shutil.which(tool) or not shutil.which("ffmpeg"):
        pytest.skip(f"{tool} is not installed")
    if tool == "sox":
        command = ["sox", str(source), *row.arguments.split(), str(target)]
    elif f" {row.encoder} " not in encoders():
        pytest.skip(f"ffmpeg has no encoder {row.encoder} here")
    else:
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-i",
            str(source),
            "-c:a",
            row.encoder,
            *row.arguments.split(),
            str(target),
        ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{tool} does not write {row.name} here: {done.stderr.strip().splitlines()[-1]}")


def decoded_by_ffmpeg(path: Path, channels: int) -> np.ndarray:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "f32le", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, "<f4").reshape(-1, channels).T


def level_db(samples: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("channels", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_length_and_level_are_right(tmp_path: Path, row: Row, channels: int) -> None:
    if row.needs_av and not has_av():
        pytest.skip("PyAV is not installed")
    if channels == 2 and row.encoder in ("libopencore_amrnb", "sox"):
        pytest.skip("one channel is enough")
    sound = np.stack([voice(150 + 60 * n, seconds=1.0, rate=row.rate, seed=n + 1) for n in range(channels)])
    sound *= 0.1 / np.sqrt(np.mean(np.square(sound)))
    soundfile.write(tmp_path / "source.wav", sound.T, row.rate)
    path = tmp_path / row.name
    make(row, tmp_path / "source.wav", path)
    expected = decoded_by_ffmpeg(path, channels)
    whole, rate = audio.read_audio(path)
    about = audio.audio_info(path)
    assert about.channels == channels
    assert (about.frames, about.rate) == (whole.shape[1], rate)
    assert not any(finding.is_partial for finding in about.findings)
    if rate != row.rate or row.encoder == "libopus":  # ffmpeg decodes opus at 48 kHz, libsndfile at the source's rate
        expected = audio.resample(expected, 48_000, rate) if row.encoder == "libopus" else expected
    if row.encoder == "sox":  # which keeps the length; ffmpeg takes a block's header of a voc for samples
        assert whole.shape[1] == sound.shape[1]
    else:
        assert abs(whole.shape[1] - expected.shape[1]) <= (2 if row.encoder == "libopus" else 0)
    assert level_db(whole) == pytest.approx(level_db(sound), abs=row.level_db)
    assert level_db(whole) == pytest.approx(level_db(expected), abs=0.1)
    length = min(whole.shape[1], expected.shape[1])
    assert np.corrcoef(whole[0][:length], expected[0][:length])[0, 1] > 0.98  # nothing was moved
    with path.open("rb") as stream, audio.open_audio(path) as file:
        blocks = list(audio.Reader(file, rate, block_seconds=0.3))
        np.testing.assert_allclose(np.concatenate(blocks), audio.to_mono(whole), atol=1e-6)
        assert stream.read(1)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="this system does not list open files in /dev/fd")
def test_mp3_is_read_where_no_temporary_file_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "x.mp3", voice(150, seconds=0.5, rate=RATE), RATE)

    def refused() -> NoReturn:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    before = len(list(Path("/dev/fd").iterdir()))
    assert audio.read_audio(tmp_path / "x.mp3")[0].shape[1] >= RATE // 2
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize(("name", "codec"), [("x.mkv", "aac"), ("x.mp4", "aac"), ("x.mka", "libopus")])
def test_a_track_is_chosen(tmp_path: Path, name: str, codec: str) -> None:
    if not has_av() or not shutil.which("ffmpeg"):
        pytest.skip("PyAV or ffmpeg is not installed")
    time = np.arange(48_000) / 48_000
    inputs: list[str] = []
    for pitch in (440, 1000):
        soundfile.write(tmp_path / f"{pitch}.wav", 0.2 * np.sin(2 * np.pi * pitch * time), 48_000)
        inputs += ["-i", str(tmp_path / f"{pitch}.wav")]
    maps = ["-map", "0:a", "-map", "1:a", "-c:a", codec]
    subprocess.run(["ffmpeg", "-v", "error", *inputs, *maps, str(tmp_path / name)], check=True)
    for track, pitch in ((1, 440), (2, 1000)):
        samples, rate = audio.read_audio(tmp_path / name, track=track)
        spectrum = np.abs(np.fft.rfft(samples[0]))
        assert spectrum.argmax() * rate / samples.shape[1] == pytest.approx(pitch, abs=3)
    with pytest.raises(UsageError, match="no track 3"):
        audio.read_audio(tmp_path / name, track=3)


@pytest.mark.parametrize(
    "arguments", ["-f mp4 -movflags +frag_keyframe+empty_moov", "-f matroska", "-f adts", "-f mpegts"]
)
def test_containers_are_read_from_a_pipe(tmp_path: Path, arguments: str) -> None:
    if not has_av() or not shutil.which("ffmpeg"):
        pytest.skip("PyAV or ffmpeg is not installed")
    soundfile.write(tmp_path / "x.wav", voice(150, seconds=2.0, rate=RATE), RATE)
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "x.wav"), "-c:a", "aac", *arguments.split()]
    subprocess.run([*command, str(tmp_path / "x")], check=True)
    with subprocess.Popen([*command, "-"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        with audio.open_audio(writer.stdout, name="standard input") as file:  # pyright: ignore[reportArgumentType]
            piped = file.read()
    np.testing.assert_array_equal(piped, audio.read_audio(tmp_path / "x")[0])
    assert piped.shape[1] >= 2 * RATE


def test_an_index_at_the_end_is_told_where_the_file_comes_from_a_pipe(tmp_path: Path) -> None:
    if not has_av() or not shutil.which("ffmpeg"):
        pytest.skip("PyAV or ffmpeg is not installed")
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 20 * RATE), RATE)
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(tmp_path / "x.wav"), str(tmp_path / "x.m4a")], check=True)
    with (
        (tmp_path / "x.m4a").open("rb") as stream,
        pytest.raises(AudioError, match="save it as a file"),
        audio.open_audio(stream, name="standard input"),
    ):
        pass
