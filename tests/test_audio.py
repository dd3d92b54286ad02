"""Reading, resampling and writing: exact lengths, exact samples, whole files or none."""

import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from septool import audio
from septool.audio import writing
from septool.audio.folders import describe_left_out
from septool.errors import AudioError, SeptoolError, UsageError
from tests.conftest import RATE, voice


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape[-1]).uniform(-0.9, 0.9, shape).astype(np.float32)


LOSSLESS = [".wav", ".flac", ".aif", ".aiff", ".au", ".w64", ".rf64", ".caf"]
LOSSY = [".ogg", ".opus", ".mp3"]


def test_what_is_hidden_is_not_found(tmp_path: Path) -> None:
    base = tmp_path / ".home"  # above the folder, hidden is no matter
    for name in ("b/call.WAV", "a.flac", "notes.txt", "b/._call.wav", ".cache/x.wav", "b/.git/y.wav", "z.wav/in.mp3"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).touch()
    found = [[path.relative_to(base).as_posix() for path in part] for part in audio.find_audio_files(base)]
    assert found == [["a.flac", "b/call.WAV", "z.wav/in.mp3"], ["notes.txt"]]


def test_every_suffix_is_tried_here() -> None:
    assert set(LOSSLESS + LOSSY) == audio.SUFFIXES


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_what_is_written_is_read_to_the_bit(tmp_path: Path, suffix: str) -> None:
    samples = np.round(noise(2, 4001) * 2**15) / 2**15
    path = tmp_path / f"x{suffix}"
    audio.write_audio(path, samples.astype(np.float32), 11025)
    again, rate = audio.read_audio(path)
    assert rate == 11025
    np.testing.assert_array_equal(again, samples)
    assert audio.audio_info(path) == audio.AudioInfo(11025, 4001, 2, "PCM_16", 4001)


@pytest.mark.parametrize("suffix", LOSSY)
def test_what_is_compressed_keeps_its_length_and_its_sound(tmp_path: Path, suffix: str) -> None:
    samples = voice(200, seconds=1.0, rate=16000)
    path = tmp_path / f"x{suffix}"
    audio.write_audio(path, samples, 16000)
    (again,), _ = audio.read_audio(path)
    assert again.shape == samples.shape
    assert np.corrcoef(again, samples)[0, 1] > 0.95
    assert audio.audio_info(path).subtype == {".ogg": "VORBIS", ".opus": "OPUS", ".mp3": "MPEG_LAYER_III"}[suffix]


def test_float_files_hold_the_exact_samples_and_integers_clip(tmp_path: Path) -> None:
    samples = noise(1, 500) * 2
    audio.write_audio(tmp_path / "f.wav", samples, RATE, "FLOAT")
    audio.write_audio(tmp_path / "i.wav", samples, RATE)
    np.testing.assert_array_equal(audio.read_audio(tmp_path / "f.wav")[0], samples)
    np.testing.assert_allclose(audio.read_audio(tmp_path / "i.wav")[0], samples.clip(-1, 1), atol=2**-15)


def test_minutes_of_vorbis_do_not_overflow_the_stack(tmp_path: Path) -> None:
    samples = np.zeros((1, 3_000_000), dtype=np.float32)  # given to libvorbis at once, this ends the process
    audio.write_audio(tmp_path / "x.ogg", samples, RATE)
    assert audio.audio_info(tmp_path / "x.ogg").frames == 3_000_000


def test_an_excerpt_of_a_file(tmp_path: Path) -> None:
    samples = noise(1, 1000)
    audio.write_audio(tmp_path / "x.wav", samples, RATE, "FLOAT")
    np.testing.assert_array_equal(audio.read_audio(tmp_path / "x.wav", 300, 200)[0], samples[:, 300:500])
    np.testing.assert_array_equal(audio.read_audio(tmp_path / "x.wav", 300)[0], samples[:, 300:])
    with pytest.raises(AudioError, match=r"x\.wav has 1000 samples, 1001 were asked for"):
        audio.read_audio(tmp_path / "x.wav", 900, 101)
    with pytest.raises(AudioError, match=r"x\.wav has 1000 samples, 1001 are to be skipped"):
        audio.read_audio(tmp_path / "x.wav", 1001)


def test_channels_are_averaged() -> None:
    samples = noise(3, 100)
    np.testing.assert_allclose(audio.to_mono(samples), samples.mean(0), rtol=1e-5)
    assert audio.to_mono(samples[:1]) is not None
    np.testing.assert_array_equal(audio.to_mono(samples[:1]), samples[0])


@pytest.mark.parametrize(("rate", "target"), [(8000, 16000), (44100, 8000), (8400.0, 8000)])
def test_resampling_keeps_a_tone_where_it_is(rate: float, target: float) -> None:
    for samples in (round(rate), round(rate) + 7):
        tone = np.sin(2 * np.pi * 440 * np.arange(samples) / rate).astype(np.float32)
        again = audio.resample(tone, rate, target)
        assert len(again) == pytest.approx(samples * target / rate, abs=1)
        expected = np.sin(2 * np.pi * 440 * np.arange(len(again)) / target)
        inside = slice(len(again) // 10, -len(again) // 10)
        np.testing.assert_allclose(again[inside], expected[inside], atol=1e-3)


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    samples = noise(1, 100)
    assert audio.resample(samples, RATE, RATE) is samples


def test_channels_are_resampled_alike() -> None:
    samples = noise(2, 1000)
    both = audio.resample(samples, 8000, 11025)
    np.testing.assert_allclose(both[1], audio.resample(samples[1], 8000, 11025), atol=1e-6)


def test_what_was_looked_at_twice_is_still_read(tmp_path: Path) -> None:
    audio.write_audio(tmp_path / "x.wav", noise(1, 200), 8000, "FLOAT")
    with audio.open_audio(tmp_path / "x.wav") as file:
        for frames in (100, 50, 300):
            assert file.peek(frames).shape[1] == min(frames, 200)
        np.testing.assert_array_equal(file.read()[0], audio.load_audio(tmp_path / "x.wav", 8000))


@pytest.mark.parametrize("rate", [8000, 11025, 48000])
@pytest.mark.parametrize("samples", [1, 1999, 2000, 2001, 4000, 9001])
def test_block_by_block_is_what_it_is_at_once(tmp_path: Path, rate: int, samples: int) -> None:
    path = tmp_path / "x.wav"
    audio.write_audio(path, noise(2, samples), rate, "FLOAT")
    with audio.open_audio(path) as file:
        reader = audio.Reader(file, 8000, block_seconds=2000 / rate)
        blocks = list(reader)
    assert reader.frames == samples
    assert len(blocks) == samples // 2000 + 1
    np.testing.assert_allclose(np.concatenate(blocks), audio.load_audio(path, 8000), atol=1e-6)


@pytest.mark.parametrize("target", [8000, 11025, 48000])
@pytest.mark.parametrize("samples", [1, 999, 5000])
def test_a_writer_ends_where_it_is_told(tmp_path: Path, target: int, samples: int) -> None:
    wanted = round(samples * target / 8000)
    paths = [tmp_path / "1", tmp_path / "2"]
    signal = noise(2, samples)
    with audio.Writer(paths, 2, 8000, target, "FLOAT", Path("x.wav")) as writer:
        for start in range(0, samples, 700):
            last = start + 700 >= samples
            writer.write(signal[:, start : start + 700], last_frame=wanted if last else None)
    expected = audio.resample(signal, 8000, target)[:, :wanted]
    for path, row in zip(paths, expected, strict=True):
        np.testing.assert_allclose(audio.read_audio(path)[0][0], row, atol=1e-6)


def test_a_writer_counts_what_it_clips(tmp_path: Path) -> None:
    with audio.Writer([tmp_path / "1"], 1, RATE, RATE, "PCM_16", Path("x.wav")) as writer:
        writer.write(np.array([[0.5, 1.0, 1.5, -2.0]], dtype=np.float32))
    assert writer.clipped == 2


def test_a_cut_off_file_says_how_much_was_announced(tmp_path: Path) -> None:
    for suffix in (".wav", ".aiff", ".au"):
        path = tmp_path / f"x{suffix}"
        audio.write_audio(path, noise(2, 10_000), RATE)
        path.write_bytes(path.read_bytes()[:20_000])
        about = audio.audio_info(path)
        assert about.frames < 5000
        assert about.header_frames == pytest.approx(10_000, abs=5)


def test_a_rate_that_a_format_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"x\.opus cannot be written at 44100 Hz: Opus only supports sample rates of"):
        audio.write_audio(tmp_path / "x.opus", noise(1, 100), 44100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "channels", "said"),
    [
        ("flac", 9, "flac cannot hold 9 channels; use wav"),
        ("mp3", 3, "mp3 cannot hold 3 channels; use wav"),
        ("opus", 256, "opus cannot hold 256 channels; use wav"),
        ("wav", 1025, "wav cannot hold 1025 channels, but at most 1024"),
    ],
)
def test_channels_of_which_a_format_holds_fewer(tmp_path: Path, suffix: str, channels: int, said: str) -> None:
    with pytest.raises(AudioError, match=f"^{said}$"):
        audio.write_audio(tmp_path / f"x.{suffix}", noise(channels, 160), 16000)
    assert not list(tmp_path.iterdir())
    most = {"flac": 8, "mp3": 2, "opus": 255, "wav": 1024}[suffix]
    audio.write_audio(tmp_path / f"x.{suffix}", noise(most, 160), 16000)
    assert audio.audio_info(tmp_path / f"x.{suffix}").channels == most


@pytest.mark.parametrize("suffix", [".wav", ".w64", ".rf64", ".aiff", ".caf"])
def test_the_time_of_writing_is_not_in_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    audio.write_audio(path, noise(2, 1000), RATE, "FLOAT")
    if suffix not in (".caf", ".rf64"):  # whose chunks count edits instead, or have no time in them
        assert b"PEAK" not in path.read_bytes()
    before = path.read_bytes()
    time.sleep(1.01)  # libsndfile's clock has whole seconds
    audio.write_audio(path, noise(2, 1000), RATE, "FLOAT")
    assert path.read_bytes() == before


@pytest.mark.parametrize(("subtype", "width"), [("PCM_16", 2), ("FLOAT", 4), ("DOUBLE", 8)])
def test_a_wav_is_kept_that_gets_longer_than_its_header_can_say(tmp_path: Path, subtype: str, width: int) -> None:
    writer = audio.Writer([path := tmp_path / "x.wav"], 1, RATE, RATE, subtype, path)
    writer.write(noise(1, 10))
    writer.written = 2**32 // width  # a hole in the file, which takes no place on the disk
    writer._files[0].seek(writer.written)
    writer.write(noise(1, RATE))
    writer.close()
    assert path.stat().st_size > writer.written * width
    assert audio.audio_info(path).frames == writer.written


@pytest.mark.parametrize(("subtype", "width"), [("PCM_16", 2), ("FLOAT", 4), ("DOUBLE", 8)])
@pytest.mark.parametrize(("more", "kind"), [(0, "WAV"), (1, "RF64")])
def test_what_a_wav_cannot_hold_is_known_by_the_bytes_of_its_samples(
    tmp_path: Path, subtype: str, width: int, more: int, kind: str
) -> None:
    path = tmp_path / "x.wav"
    expected = (writing.WAV_LIMIT + more * width) // width
    with audio.Writer([path], 1, RATE, RATE, subtype, path, expected):
        pass
    with soundfile.SoundFile(path) as file:
        assert file.format == kind


def test_a_suffix_that_is_no_format() -> None:
    with pytest.raises(UsageError, match=r"x\.doc has the suffix '\.doc'; audio can be written as \.aif, "):
        audio.format_of(Path("x.doc"))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize("limit", [0, 500, 3000])
def test_a_full_disk_keeps_what_was_there(tmp_path: Path, suffix: str, limit: int) -> None:
    path = tmp_path / f"x{suffix}"
    audio.write_audio(path, voice(100, seconds=0.1), RATE)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # what a full disk does to a writer
    try:
        with pytest.raises(SeptoolError):
            audio.write_audio(path, noise(1, 9000), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [before]


def test_a_loss_that_the_codec_does_not_report_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = soundfile.SoundFile.write
    monkeypatch.setattr(soundfile.SoundFile, "write", lambda file, part: write(file, part[:-1]))
    with pytest.raises(AudioError, match="cannot be written to; is the disk full"):
        audio.write_audio(tmp_path / "x.wav", noise(1, 100), RATE)
    assert list(tmp_path.iterdir()) == []


def sphere(path: Path, samples: np.ndarray, coding: str, order: str) -> None:
    """Write a NIST SPHERE file with the header that WSJ0's discs have."""
    lines = [
        "NIST_1A",
        "   1024",
        "database_id -s4 wsj0",
        f"sample_count -i {len(samples)}",
        "channel_count -i 1",
        "sample_rate -i 16000",
        "sample_n_bytes -i 2",
        f"sample_byte_format -s2 {order}",
        f"sample_coding -s{len(coding)} {coding}",
        "end_head\n",
    ]
    data = samples.astype("<i2" if order == "01" else ">i2").tobytes()
    path.write_bytes("\n".join(lines).encode().ljust(1024) + data)


@pytest.mark.parametrize("order", ["01", "10"])
def test_a_sphere_file_of_either_byte_order_is_read(tmp_path: Path, order: str) -> None:
    samples = np.arange(-1000, 1000)
    sphere(tmp_path / "a.wv1", samples, "pcm", order)
    read, rate = audio.read_audio(tmp_path / "a.wv1")
    assert rate == 16000
    np.testing.assert_array_equal(read[0] * 2**15, samples)


def test_a_shortened_sphere_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    sphere(tmp_path / "a.wv1", np.zeros(100), "pcm,embedded-shorten-v1.09", "01")
    with pytest.raises(AudioError, match=r"a\.wv1 is compressed with shorten.*sph2pipe"):
        audio.audio_info(tmp_path / "a.wv1")


def test_a_link_in_a_circle_is_left_out_by_name(tmp_path: Path) -> None:
    for name in ("a.wav", "b.txt"):
        (tmp_path / name).touch()
    (tmp_path / "self").symlink_to("self")
    found = audio.find_audio_files(tmp_path)
    assert found.files == [tmp_path / "a.wav"]
    assert describe_left_out(found.left_out) == f"left out: {tmp_path / 'self'}, 1 .txt"


def test_links_are_followed_once_and_what_cannot_be_listed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "a.wav").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "deep" / "up").symlink_to(tmp_path / "real")  # round in circles
    assert audio.find_audio_files(tmp_path / "tree").files == [tmp_path / "tree/linked/deep/a.wav"]

    def refused(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(AudioError, match="tree cannot be listed: Permission denied"):
        audio.find_audio_files(tmp_path / "tree")
