"""Files of others that lost sound without a word, cost minutes or gigabytes, or got the wrong words."""

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from septool import audio
from septool.audio import FindingKind, mpeg, ogg
from septool.errors import AudioError, UsageError
from tests.conftest import voice

RATE = 16000
SECONDS = 4


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """A voice in 16 bits, ``[time]``."""
    return np.round(voice(150, seconds=SECONDS, rate=RATE) * 2**15) / 2**15


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 2**15).astype("<i2").tobytes()


def wav(data: bytes, size: int, *, rate: int = RATE, channels: int = 1, width: int = 2, after: bytes = b"") -> bytes:
    """Return a WAV that says it has ``size`` bytes of samples."""
    form = struct.pack("<HHIIHH", 1, channels, rate, width * channels * rate % 2**32, width * channels, 8 * width)
    sizes = (36 + size) % 2**32, 16, size
    return (
        b"RIFF%sWAVEfmt %s%sdata%s" % (*(struct.pack("<I", n) for n in sizes[:2]), form, struct.pack("<I", size))
        + data
        + after
    )


def encoded(samples: np.ndarray, kind: str, subtype: str | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=kind, subtype=subtype, **options)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


class NoSeeking(io.RawIOBase):
    """Bytes that come once, as from a pipe, and never as many as are asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._data.readinto(memoryview(buffer)[:1000])


def every_way(path: Path) -> tuple[np.ndarray, tuple[audio.Finding, ...]]:
    """Read a file whole, in blocks, from a pipe and by its length alone, which all have to say the same."""
    whole, rate = audio.read_audio(path)
    with audio.open_audio(path) as file:
        blocks = list(audio.Reader(file, rate, block_seconds=0.3))
        findings = file.findings
    with audio.open_audio(NoSeeking(path.read_bytes()), name="pipe") as file:  # pyright: ignore[reportArgumentType]
        piped = file.read()
        assert [each.kind for each in file.findings] == [each.kind for each in findings]
    np.testing.assert_array_equal(np.concatenate(blocks), audio.to_mono(whole))
    np.testing.assert_array_equal(piped, whole)
    about = audio.audio_info(path)
    assert (about.frames, about.findings) == (whole.shape[1], findings)
    return whole, findings


def kinds(findings: tuple[audio.Finding, ...]) -> list[FindingKind]:
    return [each.kind for each in findings]


def test_mp3_without_a_count_of_frames_is_read_to_its_end(tmp_path: Path, samples: np.ndarray) -> None:
    loud_late = np.concatenate((samples * 0.001, samples * 3))  # the bit rate at the start is none of the rest
    data = encoded(loud_late, "MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    first = mpeg.parse_header(data[:4])
    assert first is not None
    assert b"Xing" in data[: first.size]
    (path := tmp_path / "x.mp3").write_bytes(data[first.size :])
    whole, findings = every_way(path)
    assert 0 <= whole.shape[1] - len(loud_late) < 3 * first.samples  # what the encoder puts before and behind
    assert findings == ()


@pytest.mark.parametrize("data_size", [8000, 8001])
def test_wav_with_a_size_that_is_too_small(tmp_path: Path, samples: np.ndarray, data_size: int) -> None:
    (path := tmp_path / "x.wav").write_bytes(wav(pcm(samples), data_size))
    if data_size % 2:
        assert audio.read_audio(path)[0].shape[1] in (len(samples), len(samples) - 1)
        return
    whole, findings = every_way(path)
    np.testing.assert_array_equal(whole[0], samples)
    assert kinds(findings) == [FindingKind.HEADER_TOO_SMALL]
    assert findings[0].describe("x.wav") == "x.wav has a wrong header: it says 0.2 s, 4.0 s are there and used"
    assert findings[0].row()["header_frames"] == 4000


@pytest.mark.parametrize("frames", [8000, 8001])
def test_wav_of_two_chunks_of_samples_gives_the_first_and_says_so(
    tmp_path: Path, samples: np.ndarray, frames: int
) -> None:
    first, second = pcm(samples[:frames]), pcm(samples[frames:])
    chunk = b"data" + struct.pack("<I", len(second)) + second
    (path := tmp_path / "x.wav").write_bytes(wav(first, len(first), after=chunk))
    whole, findings = every_way(path)
    np.testing.assert_array_equal(whole[0], samples[:frames])
    assert kinds(findings) == [FindingKind.MORE_SAMPLES]
    assert findings[0].is_partial
    assert findings[0].describe("x.wav") == (
        "x.wav has more samples behind its end, which are left out; the first 0.5 s are used"
    )


def test_wav_of_more_than_four_gigabytes_whose_size_wrapped_around(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav(b"", 32_000))
    os.truncate(path, 44 + 2**32 + 32_000)  # takes no room on the disk
    about = audio.audio_info(path)
    assert about.frames == 2**31 + 16_000
    assert kinds(about.findings) == [FindingKind.HEADER_TOO_SMALL]
    with audio.open_audio(path) as file:
        file.seek(2**31 + 15_000)
        assert file.read().shape == (1, 1000)


def test_wav_whose_recorder_was_killed(tmp_path: Path, samples: np.ndarray) -> None:
    (path := tmp_path / "x.wav").write_bytes(wav(pcm(samples), 0))
    whole, findings = every_way(path)
    np.testing.assert_array_equal(whole[0], samples)
    assert kinds(findings) == [FindingKind.LENGTH_NOT_WRITTEN]


@pytest.mark.parametrize("size", [2**32 - 1, 2**31 - 1])
def test_wav_from_a_pipe_says_nothing_of_its_length(tmp_path: Path, samples: np.ndarray, size: int) -> None:
    (path := tmp_path / "x.wav").write_bytes(wav(pcm(samples), size))
    whole, findings = every_way(path)
    np.testing.assert_array_equal(whole[0], samples)
    assert all(each.is_harmless for each in findings)


def test_a_true_size_beyond_two_gigabytes_tells_of_a_cut(
    tmp_path: Path, samples: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    (path := tmp_path / "x.wav").write_bytes(wav(pcm(samples), 3_000_000_000))
    _, findings = every_way(path)
    assert kinds(findings) == [FindingKind.CUT_OFF]
    assert findings[0].header_frames == 1_500_000_000
    data = encoded(samples, "RF64")
    place = data.index(b"ds64") + 16
    for size in (2**31 - 2, 2**63 - 2):  # the second with an end beyond what an offset in C can be
        path.write_bytes(data[:place] + size.to_bytes(8, "little") + data[place + 8 :])
        whole, findings = every_way(path)
        np.testing.assert_array_equal(whole[0], samples)
        assert kinds(findings) == [FindingKind.CUT_OFF]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "after", [b"", b"LIST\x04\0\0\0INFO", b"\0" * 5000, b"TAG" + b"x" * 125, b"abcd\x10\0\0\0" + b"x" * 16]
)
def test_what_is_behind_the_samples_of_a_wav_is_none_of_them(tmp_path: Path, samples: np.ndarray, after: bytes) -> None:
    (path := tmp_path / "x.wav").write_bytes(wav(pcm(samples), 2 * len(samples), after=after))
    about = audio.audio_info(path)
    assert (about.frames, about.findings) == (len(samples), ())
    np.testing.assert_array_equal(audio.read_audio(path)[0][0], samples)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "W64", "RF64", "CAF", "FLAC"])
def test_what_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, samples: np.ndarray, kind: str) -> None:
    data = encoded(samples, kind)
    (path := tmp_path / "x").write_bytes(data[: len(data) // 2])
    whole, findings = every_way(path)
    assert len(samples) // 3 < whole.shape[1] < len(samples) * 2 // 3
    np.testing.assert_array_equal(whole[0], samples[: whole.shape[1]])
    assert FindingKind.CUT_OFF in kinds(findings)
    cut = findings[kinds(findings).index(FindingKind.CUT_OFF)]
    assert cut.is_partial
    assert cut.header_frames == len(samples)
    assert cut.frames == whole.shape[1]


def test_garbage_in_the_middle_of_mp3_is_stepped_over_and_told(tmp_path: Path, samples: np.ndarray) -> None:
    data = encoded(samples, "MP3", bitrate_mode="CONSTANT")
    first = mpeg.parse_header(data[:4])
    assert first is not None
    data, middle = data[first.size :], len(data) // 2
    garbage = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    (path := tmp_path / "sound.mp3").write_bytes(data)
    sound = audio.read_audio(path)[0]
    (path := tmp_path / "x.mp3").write_bytes(data[:middle] + garbage + data[middle:])
    whole, findings = every_way(path)
    assert abs(whole.shape[1] - sound.shape[1]) <= 2 * first.samples
    assert kinds(findings) == [FindingKind.GAP]
    assert 4500 < findings[0].lost_bytes < 5500
    assert findings[0].is_partial
    assert findings[0].describe("x.mp3").startswith("x.mp3 is damaged: a part (")
    np.testing.assert_allclose(whole[0][-RATE:], sound[0][-RATE:], atol=1e-3)


def with_total(data: bytes, total: int) -> bytes:
    """Return FLAC whose header announces another number of samples; 0 says that nobody knew."""
    place = data.index(b"fLaC") + 18
    old = int.from_bytes(data[place : place + 8], "big")
    return data[:place] + (old & ~(2**36 - 1) | total).to_bytes(8, "big") + data[place + 8 :]


@pytest.mark.parametrize(
    ("total", "kind"),
    [(0, FindingKind.UNKNOWN_LENGTH), (20_000, FindingKind.HEADER_TOO_SMALL), (10**9, FindingKind.CUT_OFF)],
)
def test_flac_that_is_wrong_about_its_length(
    tmp_path: Path, samples: np.ndarray, total: int, kind: FindingKind
) -> None:
    (path := tmp_path / "x.flac").write_bytes(with_total(encoded(samples, "FLAC"), total))
    whole, findings = every_way(path)
    np.testing.assert_array_equal(whole[0], samples)
    assert kinds(findings) == [kind]
    np.testing.assert_array_equal(audio.read_audio(path, 30_000, 20_000)[0][0], samples[30_000:50_000])


def page(body: list[bytes], flags: int, number: int) -> bytes:
    """Return an Ogg page of whole packets (RFC 3533)."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in body)
    blank = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 0, 7, number, 0, len(lacing)) + lacing + b"".join(body)
    total = 0
    for byte in blank:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ 0x04C11DB7 if total >> 31 else total << 1) & 0xFFFFFFFF
    return blank[:22] + struct.pack("<I", total) + blank[26:]


def test_flac_in_ogg(tmp_path: Path, samples: np.ndarray) -> None:
    plain = encoded(samples[:9000], "FLAC")
    starts = [at for at in range(42, len(plain)) if plain[at : at + 2] == b"\xff\xf8" and plain[at + 3] & 1 == 0]
    blocks = 42
    packets: list[bytes] = []
    while (
        not plain[blocks - 38 if blocks == 42 else blocks] & 0x80 and blocks < starts[0]
    ):  # further blocks of the header
        end = blocks + 4 + int.from_bytes(plain[blocks + 1 : blocks + 4], "big")
        packets.append(plain[blocks:end])
        blocks = end
        if packets[-1][0] & 0x80:
            break
    first = b"\x7fFLAC\1\0" + len(packets).to_bytes(2, "big") + plain[:42]
    rest = plain[blocks:]
    pages = [page([first], 2, 0), *(page([packet], 0, n) for n, packet in enumerate(packets, 1))]
    # Packets need not be frames for what takes them out again; a page holds 255 pieces.
    parts = [rest[at : at + 40_000] for at in range(0, len(rest), 40_000)]
    pages += [page([part], 4 if n == len(parts) - 1 else 0, len(packets) + 1 + n) for n, part in enumerate(parts)]
    (path := tmp_path / "x.oga").write_bytes(b"".join(pages))
    whole, findings = every_way(path)
    np.testing.assert_array_equal(whole[0], samples[:9000])
    assert findings == ()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_streams_one_after_the_other_in_ogg(tmp_path: Path, samples: np.ndarray, subtype: str) -> None:
    one, other = (encoded(part, "OGG", subtype) for part in (samples[:20_000], samples[:12_345]))
    (path := tmp_path / "x.ogg").write_bytes(one + other)
    whole, findings = every_way(path)
    assert whole.shape == (1, 32_345)
    assert findings == ()


def pages_of(stream: bytes) -> list[bytes]:
    pages: list[bytes] = []
    while stream:
        end = 27 + stream[26] + sum(stream[27 : 27 + stream[26]])
        pages.append(stream[:end])
        stream = stream[end:]
    return pages


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize(("order", "seconds"), [("a-", 2), ("a-b", 3), ("-b", 1)])
def test_streams_in_ogg_without_all_of_their_headers_cost_no_others(
    tmp_path: Path, samples: np.ndarray, subtype: str, order: str, seconds: int
) -> None:
    a, b = (encoded(part, "OGG", subtype) for part in (samples[: 2 * RATE], samples[:RATE]))
    first, _, *rest = pages_of(b)
    streams = {"a": a, "b": b, "-": b"".join([first, *rest])}
    (path := tmp_path / "x.ogg").write_bytes(b"".join(streams[name] for name in order))
    whole, findings = every_way(path)
    assert whole.shape == (1, seconds * RATE)
    assert kinds(findings) == [FindingKind.GAP]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_what_comes_behind_an_early_end_in_ogg_is_a_gap_and_costs_no_other_stream(
    tmp_path: Path, samples: np.ndarray, subtype: str
) -> None:
    long = pages_of(encoded(np.tile(samples, 6), "OGG", subtype))
    early = bytearray(long[4])
    early[5] |= ogg.LAST
    early[22:26] = ogg.page_sum(bytes(early)).to_bytes(4, "little")
    long[4] = bytes(early)
    assert sum(map(len, long[5:])) > 2**16  # more than the codec has been given when it ends
    (path := tmp_path / "x.ogg").write_bytes(b"".join(long) + encoded(samples, "OGG", subtype))
    whole, findings = every_way(path)
    assert SECONDS * RATE < whole.shape[1] < 2 * SECONDS * RATE
    assert kinds(findings) == [FindingKind.GAP]
    assert 0 < findings[0].frames < SECONDS * RATE


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_the_place_of_damage_in_ogg_counts_from_the_first_stream(
    tmp_path: Path, samples: np.ndarray, subtype: str
) -> None:
    one = encoded(samples, "OGG", subtype)
    pages = pages_of(one)
    del pages[-2]
    (path := tmp_path / "x.ogg").write_bytes(one + b"".join(pages))
    (finding,) = audio.audio_info(path).findings
    assert finding.kind == FindingKind.GAP
    assert SECONDS * RATE < finding.frames < 2 * SECONDS * RATE


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_damage_in_ogg_is_told(tmp_path: Path, samples: np.ndarray, subtype: str) -> None:
    data = bytearray(encoded(np.tile(samples, 3), "OGG", subtype))
    data[len(data) // 2] ^= 0xFF
    (path := tmp_path / "x.ogg").write_bytes(data)
    findings = audio.audio_info(path).findings
    assert kinds(findings) == [FindingKind.GAP]
    assert kinds(every_way(path)[1]) == [FindingKind.GAP]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "non-finite samples"),
        (np.inf, "non-finite samples"),
        (-np.inf, "non-finite samples"),
        (1e30, r"samples of 1e\+30"),
    ],
)
def test_samples_that_cannot_be_worked_with_are_told_with_the_files_name(
    tmp_path: Path, value: float, words: str
) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.array([0.1, value, 0.1]), RATE, subtype="FLOAT")
    with pytest.raises(
        AudioError, match=rf"loud\.wav holds {words}" if "1e" in words else r"loud\.wav.*non-finite samples"
    ):
        audio.load_audio(path, 8000)
    with audio.open_audio(path) as file, pytest.raises(AudioError, match=r"loud\.wav holds"):
        list(audio.Reader(file, 8000))


def test_integers_stored_as_floats_are_no_such_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([2.0**31, -(2.0**31)]), RATE, subtype="FLOAT")
    assert audio.read_audio(tmp_path / "x.wav")[0].max() == 2**31


@pytest.mark.parametrize("rate", [1, 5, 999, 1_000_001, 10**9])
def test_rates_of_no_recording_are_refused(tmp_path: Path, rate: int) -> None:
    (path := tmp_path / "x.wav").write_bytes(wav(bytes(1200), 1200, rate=rate))
    with pytest.raises(AudioError, match=rf"x\.wav says that its rate is {rate} Hz; recordings of 1000 Hz to 1 MHz"):
        audio.audio_info(path)


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 256), (192_000, 256), (48_000, 1024)])
def test_many_channels_are_read_in_short_blocks(tmp_path: Path, rate: int, channels: int) -> None:
    frames = 3_000_000 // channels
    (path := tmp_path / "x.wav").write_bytes(
        wav(bytes(2 * channels * frames), 2 * channels * frames, rate=rate, channels=channels)
    )
    with audio.open_audio(path) as file:
        reader = audio.Reader(file, rate, block_seconds=10)
        assert max(map(len, reader)) * channels <= 2**21
        assert reader.frames == frames


@pytest.mark.parametrize("size", [2**31 - 2**17, 2**32 - 1, 2**32 - 2])
def test_a_small_file_that_claims_much_takes_little(tmp_path: Path, size: int) -> None:
    (path := tmp_path / "x.wav").write_bytes(wav(bytes(50_000), size))
    tracemalloc.start()
    with pytest.raises(AudioError, match=r"x\.wav has 25000 samples, 1000000000 were asked for"):
        audio.read_audio(path, 0, 10**9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.mp3", b"just some text\n" * 50, r"notes\.mp3 cannot be read as audio"),
        ("zero.wav", wav(bytes(100), 100, rate=0), r"zero\.wav (cannot be read as audio|says that its rate is 0 Hz)"),
        ("empty.wav", b"", r"empty\.wav is empty"),
        ("raw.raw", bytes(1000), r"raw\.raw has no header that says what it is"),
        ("none.wav", wav(b"", 0), r"none\.wav has no samples"),
    ],
)
def test_what_is_no_audio_is_told_in_our_own_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes, words: str
) -> None:
    (path := tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=words) as caught, audio.open_audio(path) as file:
        list(audio.Reader(file, 8000))
    assert "SF_INFO" not in str(caught.value)
    assert "does not exist" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_libmpg123_says_nothing_itself_and_others_are_heard(
    tmp_path: Path, samples: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(encoded(samples, "MP3"))
    for place in np.random.default_rng(1).integers(2000, len(data), 60):
        data[place] ^= 0x55
    (path := tmp_path / "x.mp3").write_bytes(data)
    stop = threading.Event()

    def talk() -> None:
        while not stop.is_set():
            os.write(2, b"another's line\n")

    talker = threading.Thread(target=talk)
    talker.start()
    audio.read_audio(path)
    stop.set()
    talker.join()
    said = capfd.readouterr().err.splitlines()
    assert said
    assert set(said) == {"another's line"}


def test_a_named_pipe_without_writer_is_noticed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.wav")
    with (
        pytest.raises(AudioError, match=r"p\.wav cannot be read: nobody writes to this named pipe"),
        audio.open_audio(tmp_path / "p.wav"),
    ):
        pass


def test_a_named_pipe_with_a_writer_is_read(tmp_path: Path, samples: np.ndarray) -> None:
    path = tmp_path / "p"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(wav(pcm(samples), 2**32 - 1)))
    writer.start()
    np.testing.assert_array_equal(audio.load_audio(path, RATE), samples)
    writer.join()


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8 are not of every system")
def test_names_in_any_bytes_are_read_written_and_shown_harmless(tmp_path: Path, samples: np.ndarray) -> None:
    name = os.fsdecode(b"a\x1b[31m\n\xff\xe2\x80\xae.wav")
    audio.write_audio(tmp_path / name, samples, RATE)
    np.testing.assert_array_equal(audio.read_audio(tmp_path / name)[0][0], samples)
    assert audio.find_audio_files(tmp_path).files == [tmp_path / name]
    (tmp_path / name).write_bytes(b"text, not sound" * 9)
    with pytest.raises(AudioError) as caught:
        audio.read_audio(tmp_path / name)
    assert r"a\x1b[31m\n\xff\u202e.wav cannot be read" in str(caught.value)
    with pytest.raises(AudioError, match="is no name that a file can have"):
        audio.read_audio(tmp_path / "a\0b.wav")


def test_a_folder_is_taken_for_all_it_holds_and_the_rest_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = ["x.wav", "x2.sph", "x4.mp2", "a.oga", "b.snd", "c.aifc", "d.voc", "e.wave", "f.MP3"]
    for name in [*taken, "x3.m4a", "g.webm", "notes.txt", "more.txt", "README"]:
        (tmp_path / name).touch()
    (tmp_path / "lost+found").mkdir()
    listed = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for present in (True, False):
        monkeypatch.setattr("septool.audio.folders.readable_suffixes", lambda present=present: suffixes(present))
        found = audio.find_audio_files(tmp_path)
        assert {path.name for path in found.files} == {*taken, *(["x3.m4a", "g.webm"] if present else [])}
        text = audio.describe_left_out(found.left_out)
        assert text is not None
        assert "lost+found" in text
        assert text.split("(")[0].rstrip().endswith("2 .txt, 1 without suffix")
        assert ("x3.m4a" in text) != present
    assert audio.describe_left_out([]) is None


def suffixes(with_av: bool) -> frozenset[str]:
    from septool.audio import formats

    return audio.SUFFIXES | formats.READ_ONLY | (audio.FOREIGN if with_av else frozenset())


def test_a_track_that_is_not_there(tmp_path: Path, samples: np.ndarray) -> None:
    path = tmp_path / "x.wav"
    audio.write_audio(path, samples, RATE)
    with pytest.raises(UsageError, match="track is 0; tracks are counted from 1"), audio.open_audio(path, track=0):
        pass
    with pytest.raises((AudioError, UsageError), match="track 2"), audio.open_audio(path, track=2):
        pass


def test_a_child_of_a_fork_keeps_no_pipe_open(tmp_path: Path, samples: np.ndarray) -> None:
    (tmp_path / "x.mp3").write_bytes(encoded(np.tile(samples, 5), "MP3"))
    script = f"""
import os, sys
from pathlib import Path
from septool import audio
with audio.open_audio(Path({str(tmp_path / "x.mp3")!r})) as file:
    file.read(1000)
    child = os.fork()
    if not child:
        sys.stdin.read()
        os._exit(0)
    print(file.read().shape[1] + 1000)
"""
    done = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert done.stdout is not None
    assert int(done.stdout.readline()) == 5 * len(samples)
    done.communicate()


# Found by thousands of damaged files (tests/fuzz).


def test_mp3_whose_first_frame_lies_about_its_channels(tmp_path: Path, samples: np.ndarray) -> None:
    whole = encoded(samples, "MP3")
    start = whole.index(b"\xff\xf3")
    size = mpeg.parse_header(whole[start : start + 4]).size  # pyright: ignore[reportOptionalMemberAccess]
    lying = bytearray(whole[start + size :])  # without the frame that counts the others
    lying[3] &= 0x3F  # two channels
    path = tmp_path / "x.mp3"
    path.write_bytes(lying)
    read, _ = every_way(path)
    assert read.shape == (1, pytest.approx(len(samples), abs=3000))


def test_au_without_a_place_where_its_samples_begin(tmp_path: Path, samples: np.ndarray) -> None:
    content = bytearray(encoded(samples, "AU", "PCM_16"))
    content[4:8] = bytes(4)
    path = tmp_path / "x.au"
    path.write_bytes(content)
    read, findings = every_way(path)
    np.testing.assert_allclose(read[0], samples, atol=1e-6)
    assert findings == ()


def test_flac_that_ends_with_its_end_again(tmp_path: Path, samples: np.ndarray) -> None:
    content = encoded(samples, "FLAC")
    path = tmp_path / "x.flac"
    path.write_bytes(content + content[-(len(content) // 3) :])
    read, rate = audio.read_audio(path)
    about = audio.audio_info(path)
    assert about.frames == read.shape[1] >= len(samples)
    assert rate == RATE
    assert FindingKind.GAP in {finding.kind for finding in about.findings}


def test_what_only_begins_like_mpeg_is_none(tmp_path: Path, samples: np.ndarray) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff\xfb\x90\x00" + encoded(samples, "W64", "PCM_24")[4:])
    with pytest.raises(AudioError, match="it begins like MPEG audio and does not go on so"):
        audio.audio_info(path)
