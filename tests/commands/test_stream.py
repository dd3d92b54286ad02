"""``septool separate --stream``: pipes while they are open, samples without headers, single voices, chosen tracks."""

import io
import json
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.batch import runner
from septool.batch.output_folder import OutputLists
from tests.conftest import RATE, Command, files_below, voice

SEGMENT = ("--segment", "0.5", "--overlap", "0.1")


@pytest.fixture
def separate(septool: Command, tiny_checkpoint: Path) -> Command:
    def command(*arguments: object, stdin: bytes = b""):
        return septool("separate", *arguments, "-m", tiny_checkpoint, "-d", "cpu", stdin=stdin)

    return command


def piped(path: Path) -> bytes:
    """The bytes of a WAV file as FFmpeg writes them to a pipe, of unknown length."""
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = content[4:8] = b"\xff" * 4
    return bytes(content)


def samples(content: bytes) -> np.ndarray:
    """Read a file in memory, ``[channel, time]``."""
    with audio.open_audio(io.BytesIO(content)) as file:
        return file.read()


def read(process: "subprocess.Popen[bytes]", count: int) -> bytes:
    """Read so many bytes of a process's standard output, which has to be alive and to give them within minutes."""
    assert process.stdout is not None
    content = b""
    while len(content) < count:
        assert select.select([process.stdout], [], [], 300)[0], "nothing comes while the input is open"
        part = process.stdout.read1(count - len(content))  # type: ignore[attr-defined]
        assert part, process.stderr and process.stderr.read()
        content += part
    return content


def test_voices_come_while_the_recording_goes_on(
    start: Callable[..., "subprocess.Popen[bytes]"], separate: Command, call: Path, tiny_checkpoint: Path
) -> None:
    content = piped(call)
    whole = samples(separate(call, "-o", "-", *SEGMENT).out)
    line = ("separate", "-", "--stream", "-o", "-", "-m", tiny_checkpoint, "-d", "cpu", *SEGMENT)
    process = start(*line, stdin=subprocess.PIPE)
    assert process.stdin is not None
    half = len(content) // 2
    process.stdin.write(content[:half])
    process.stdin.flush()
    first = read(process, 44 + 4 * round(0.4 * RATE))  # nobody has closed the input
    process.stdin.write(content[half:])
    rest, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    np.testing.assert_array_equal(samples(first + rest), whole)
    assert b"voices come up to 0.5 s (--segment) late and 0.1 s (--overlap) at least, 0.4 s of them at a time" in errors


@pytest.mark.parametrize("options", [(), ("--channel", "2")])
def test_a_pipe_gives_what_the_file_gives(
    separate: Command, call: Path, speech: np.ndarray, options: tuple[str, ...]
) -> None:
    audio.write_audio(call, np.stack((speech.sum(0), speech[0])), 2 * RATE, "FLOAT")
    whole = samples(separate(call, "-o", "-", *SEGMENT, *options).out)
    result = separate("-", "--stream", "-o", "-", *SEGMENT, *options, stdin=piped(call))
    assert result.status == 0, result.errors
    np.testing.assert_array_equal(samples(result.out), whole)


def test_files_are_those_of_the_file(separate: Command, call: Path, tmp_path: Path) -> None:
    separate(call, "-o", tmp_path / "whole", *SEGMENT)
    result = separate("-", "--stream", "-o", tmp_path / "out", *SEGMENT, stdin=piped(call))
    assert result.lines == [str(tmp_path / f"out/stdin_s{n}.wav") for n in (1, 2)]
    for n in (1, 2):
        content = (tmp_path / f"out/stdin_s{n}.wav").read_bytes()
        assert content == (tmp_path / f"whole/call_s{n}.wav").read_bytes()


def test_samples_without_a_header_in_and_out(separate: Command, call: Path) -> None:
    whole = samples(separate(call, "-o", "-").out)
    raw = call.read_bytes()[44:]
    for options in (("--stream",), ()):
        result = separate("-", *options, "--raw", "s16le:8000:1", "-o", "-", "--format", "s16le", stdin=raw)
        assert result.status == 0, result.errors
        found = np.frombuffer(result.out, "<i2").reshape(-1, 2).T
        np.testing.assert_array_equal(found, np.round(whole * 2**15))


def test_a_file_without_a_header(separate: Command, call: Path, tmp_path: Path) -> None:
    bare = tmp_path / "call.raw"
    bare.write_bytes(audio.read_audio(call)[0].astype(">f4").tobytes())
    result = separate(bare, "--raw", "f32be:8000:1", "-o", tmp_path / "bare")
    plain = separate(call, "-o", tmp_path / "plain")
    assert (result.status, plain.status) == (0, 0), result.errors
    assert (len(result.lines), len(plain.lines)) == (2, 2)
    for one, other in zip(result.lines, plain.lines, strict=True):
        np.testing.assert_allclose(audio.read_audio(Path(one))[0], audio.read_audio(Path(other))[0], atol=2**-14)


def test_a_folder_is_searched_for_recordings_without_a_header(separate: Command, call: Path, tmp_path: Path) -> None:
    samples = call.read_bytes()[44:]
    for name in ("a.raw", "deep/b.PCM", "c.s16le"):
        (call.parent / name).parent.mkdir(exist_ok=True)
        (call.parent / name).write_bytes(samples)
    result = separate(call.parent, "--raw", "s16le:8000:1", "-o", tmp_path / "out")
    assert result.status == 0
    assert files_below(tmp_path / "out") == [f"{name}_s{n}.wav" for name in ("a", "c", "deep/b") for n in (1, 2)]
    assert "septool: left out: 1 .wav" in result.errors
    (call.parent / "alone").mkdir()
    call.rename(call.parent / "alone" / "call.wav")
    nothing = separate(call.parent / "alone", "--raw", "s16le:8000:1", "-o", tmp_path / "none")
    assert nothing.status == 2
    assert "alone holds no files of samples without a header (.al, .alaw, .f32be" in nothing.errors[-1]


@pytest.mark.parametrize("stream", [(), ("--stream",)])
def test_one_voice_alone(separate: Command, call: Path, stream: tuple[str, ...]) -> None:
    both = samples(separate("-", "-o", "-", stdin=call.read_bytes()).out)
    for number in (1, 2):
        result = separate("-", *stream, "-o", "-", "--voice", number, stdin=call.read_bytes())
        np.testing.assert_array_equal(samples(result.out), both[number - 1 : number])


def test_channels_that_cancel_each_other_are_noticed_in_a_pipe(
    separate: Command, call: Path, speech: np.ndarray
) -> None:
    mono = speech.sum(0)
    alone = samples(separate(call, "-o", "-", *SEGMENT).out)
    audio.write_audio(call, np.stack((mono, -0.9 * mono)), RATE)
    result = separate("-", "--stream", "-o", "-", *SEGMENT, stdin=call.read_bytes())
    np.testing.assert_array_equal(samples(result.out), alone)
    assert "its 2 channels cancel each other; channel 1, the loudest, is used" in result.errors[-1]


@pytest.mark.usefixtures("hears_ctrl_c")
def test_what_ctrl_c_ends_is_recorded_like_any_other(
    separate: Command, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pipe(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            if self.tell() > len(call.read_bytes()) / 2 and not pressed:
                pressed.append(self.tell())
                signal.raise_signal(signal.SIGINT)
            return super().read1(1000)

    pressed: list[int] = []
    out, manifest = tmp_path / "out", tmp_path / "results.jsonl"
    monkeypatch.setattr(runner, "open_stdin", lambda: Pipe(call.read_bytes()))
    result = separate("-", "--stream", "-o", out, "--manifest", manifest, *SEGMENT)
    assert result.status == 130
    assert result.lines == [str(out / f"stdin_s{n}.wav") for n in (1, 2)]
    assert all(OutputLists().is_output(Path(line)) for line in result.lines)  # and are not separated again
    (row,) = map(json.loads, manifest.read_text().splitlines())
    assert [output["path"] for output in row["outputs"]] == result.lines


def test_a_damaged_pipe_is_one_line(separate: Command) -> None:
    for content, said in ((b"", "standard input is empty"), (b"not audio" * 100, "standard input cannot be read as")):
        result = separate("-", "--stream", "-o", "-", stdin=content)
        assert result.status == 1
        assert said in result.errors[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["call.wav", "--stream"], "--stream takes standard input alone; give - and pipe the recording in"),
        (["-", "x.wav", "--stream"], "--stream takes standard input alone"),
        (["-", "--stream", "--reference", "a.wav"], "--reference is compared with a whole recording"),
        (["-", "--stream", "--speakers", "auto"], "--speakers listens to a whole recording first"),
        (["-", "--voice", "1"], "--voice 1 takes --out -; files are named for every voice"),
        (["-", "--voice", "3", "-o", "-"], "--voice is 3; the model returns voices 1 to 2"),
        (["-", "--raw", "pcm"], "--raw is 'pcm'; write it as ENCODING:RATE:CHANNELS, such as s16le:16000:1"),
        (["x.wav", "--raw", "u8:8000:1", "--html", "x.html"], "--html x.html shows recordings that have a header"),
        (["x.wav", "--track", "2", "--html", "x.html"], "--html x.html shows the first track of sound"),
        (["-", "--jobs", "2"], "--jobs 2 reads files; name them instead of standard input"),
        (["-", "--skip-existing"], "--skip-existing goes by names, and standard input has none"),
        (["x.wav", "-o", "-", "--skip-existing"], "--skip-existing goes by files, and --out - writes none"),
    ],
)
def test_wrong_usage(
    separate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = separate(*arguments)
    assert result.status == 2
    assert said in result.errors[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_is_gone_back_in_cannot_be_streamed(separate: Command, call: Path) -> None:
    result = separate("-", "--stream", "-o", "-", "--format", "caf", stdin=call.read_bytes())
    assert (result.status, result.out) == (2, b"")
    assert "--format caf cannot be written to a pipe as it is made" in result.errors[-1]


def test_a_track_of_several(separate: Command, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed")
    path, sounds = tmp_path / "film.mkv", [voice(110, seconds=1), voice(210, seconds=1)]
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in sounds]
        for stream, sound in zip(streams, sounds, strict=True):
            frame = av.AudioFrame.from_ndarray(np.round(sound * 2**15).astype(np.int16)[None], "s16", "mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    for number, sound in enumerate(sounds, 1):
        audio.write_audio(tmp_path / f"{number}.wav", np.round(sound * 2**15) / 2**15, RATE)
        expected = separate(tmp_path / f"{number}.wav", "-o", "-")
        result = separate(path, "--track", number, "-o", "-")
        assert result.status == 0, result.errors
        np.testing.assert_allclose(samples(result.out), samples(expected.out), atol=2**-15)
    assert "has 2 tracks of sound; there is no track 3" in separate(path, "--track", 3, "-o", "-").errors[-1]


# Channels.


def test_each_channel_by_itself(separate: Command, call: Path, speech: np.ndarray, tmp_path: Path) -> None:
    sides = [speech.sum(0), speech[0], np.roll(speech[1], 100)]
    audio.write_audio(call, np.stack(sides), RATE)
    result = separate(call, "--channel", "each", "-o", tmp_path / "out", *SEGMENT)
    assert result.status == 0, result.errors
    names = [f"call_c{channel}_s{number}.wav" for channel in (1, 2, 3) for number in (1, 2)]
    assert result.lines == [str(tmp_path / "out" / name) for name in names]
    assert not any("averaged" in line for line in result.errors)
    together = samples(separate(call, "--channel", "each", "-o", "-", *SEGMENT).out)
    second = samples(separate(call, "--channel", "each", "--voice", 2, "-o", "-", *SEGMENT).out)
    np.testing.assert_array_equal(second, together[1::2])
    for number in (1, 2, 3):
        alone = separate(call, "--channel", number, "-o", tmp_path / str(number), *SEGMENT).lines
        mine = result.lines[2 * number - 2 : 2 * number]
        for one, other, row in zip(mine, alone, together[2 * number - 2 : 2 * number], strict=True):
            assert Path(one).read_bytes() == Path(other).read_bytes()
            np.testing.assert_array_equal(audio.read_audio(Path(one))[0][0], row)


def test_mix_is_what_is_done_by_default(separate: Command, call: Path, speech: np.ndarray) -> None:
    audio.write_audio(call, speech, RATE)
    plain = separate(call, "-o", "-")
    mixed = separate(call, "--channel", "mix", "-o", "-")
    assert mixed.out == plain.out
    assert any("averaged to one" in line for line in plain.errors)
    assert not any("averaged to one" in line for line in mixed.errors)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--channel", "left"], "--channel is 'left'; it can be a number from 1 to 1024, mix or each"),
        (["--channel", "0"], "--channel is '0'"),
        (["--channel", "each", "--reference", "a.wav"], "--reference is for one channel or their mix"),
        (["--channel", "each", "--speakers", "2"], "--speakers is for one channel or their mix"),
        (["--channel", "each", "--name", "{voice}"], "gives every voice the same file; put {channel}, {voice} in it"),
        (["--name", "{channel}{voice}"], "can use {stem}, {suffix}, {voice} and {model} only"),
    ],
)
def test_channels_that_do_not_go(
    separate: Command, call: Path, speech: np.ndarray, tmp_path: Path, arguments: list[str], said: str
) -> None:
    audio.write_audio(call, speech, RATE)
    result = separate(call, "-o", tmp_path / "out", *arguments)
    assert result.status == 2
    assert said in result.errors[-1]
    assert not (tmp_path / "out").exists()


def test_a_pipe_of_channels_has_no_files(separate: Command, call: Path, tmp_path: Path) -> None:
    result = separate("-", "--channel", "each", "-o", tmp_path / "out", stdin=call.read_bytes())
    assert result.status == 2
    assert "--channel each names files for every channel, which takes files; or give --out -" in result.errors[-1]


def test_a_known_voice_in_each_channel(
    septool: Command, call: Path, speech: np.ndarray, tiny_extractor: Path, tmp_path: Path
) -> None:
    audio.write_audio(call, np.stack((speech.sum(0), speech[1])), RATE)
    audio.write_audio(tmp_path / "known.wav", voice(110, seed=5), RATE)
    line = ("extract", call, "--reference", tmp_path / "known.wav", "-m", tiny_extractor, "-d", "cpu")
    result = septool(*line, "--channel", "each", "-o", tmp_path / "out")
    assert result.lines == [str(tmp_path / f"out/call_c{number}_voice.wav") for number in (1, 2)]
    for number, path in enumerate(result.lines, 1):
        alone = septool(*line, "--channel", number, "-o", tmp_path / f"{number}.wav")
        assert alone.status == 0, alone.errors
        assert Path(path).read_bytes() == (tmp_path / f"{number}.wav").read_bytes()
