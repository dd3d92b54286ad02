"""``septool separate``: what it prints, what it leaves behind, and what it says of every bad recording."""

import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
import torch

from septool import audio, catalogue, checkpoints, workers
from septool.batch import runner
from septool.batch.stdio import check_reader
from septool.errors import UsageError
from septool.files import sha256_of
from septool.tasks import separate as separating
from tests.conftest import RATE, Command, files_below, voice, write


def test_voices_have_the_recordings_rate_and_length(separate: Command, call: Path, tmp_path: Path) -> None:
    result = separate(call)
    assert result.status == 0
    assert result.lines == [str(tmp_path / f"out/call_s{n}.wav") for n in (1, 2)]
    assert result.errors[0].startswith(f"septool: {call}: 3.0 s in ")
    for path in result.lines:
        assert audio.audio_info(Path(path)) == audio.audio_info(call)


def test_json_is_a_line_for_every_recording(separate: Command, call: Path, tmp_path: Path) -> None:
    result = separate(call, tmp_path / "missing.wav", "--json", "-q")
    assert result.status == 1
    done, failed = map(json.loads, result.lines)
    assert done["outputs"] == [str(tmp_path / f"out/call_s{n}.wav") for n in (1, 2)]
    assert (done["seconds"], done["rate"], done["channels"], done["joints"]) == (3.0, RATE, 1, [])
    assert failed == {"input": str(tmp_path / "missing.wav"), "error": f"{tmp_path / 'missing.wav'} does not exist"}
    assert result.errors == [f"septool: {failed['error']}"]


def test_quiet_prints_results_only(separate: Command, call: Path) -> None:
    assert separate(call, "-q").errors == []


def test_a_folder_is_searched_and_its_shape_kept(separate: Command, call: Path, tmp_path: Path) -> None:
    shutil.copy(call, tmp_path / "in/._call.wav")  # as macOS leaves beside a file, unreadable
    write(tmp_path / "in/monday/a.flac", voice(100, seconds=0.3))
    (tmp_path / "in/notes.txt").write_text("not audio")
    assert separate(tmp_path / "in", "--format", "flac").status == 0
    expected = ["call_s1.flac", "call_s2.flac", "monday/a_s1.flac", "monday/a_s2.flac"]
    assert files_below(tmp_path / "out") == expected


def test_a_folder_can_be_separated_into_itself_again(separate: Command, call: Path) -> None:
    folder = call.parent
    assert separate(folder, "-o", folder).status == 0
    before = files_below(folder)
    again = separate(folder, "-o", folder, "--skip-existing")
    assert again.status == 0
    assert "2 files are left out: they are voices that septool wrote" in again.errors[0]
    assert files_below(folder) == before


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "opus", "mp3", "aiff", "caf", ".wav"])
def test_every_format_holds_the_whole_recording(separate: Command, call: Path, form: str) -> None:
    result = separate(call, "--format", form)
    assert result.status == 0, result.errors
    for path in result.lines:
        assert audio.audio_info(Path(path)).frames == audio.audio_info(call).frames


@pytest.mark.parametrize(
    ("subtype", "form", "kept"),
    [
        ("PCM_24", "wav", "PCM_24"),
        ("FLOAT", "wav", "FLOAT"),
        ("DOUBLE", "wav", "FLOAT"),
        ("PCM_U8", "wav", "PCM_16"),
        ("FLOAT", "flac", "PCM_24"),
    ],
)
def test_the_sample_format_loses_nothing_it_need_not(
    separate: Command, call: Path, speech: np.ndarray, subtype: str, form: str, kept: str
) -> None:
    write(call, speech.sum(0), subtype=subtype)
    result = separate(call, "--format", form)
    assert {audio.audio_info(Path(path)).subtype for path in result.lines} == {kept}


def test_names_are_made_of_stem_voice_and_model(separate: Command, call: Path, tmp_path: Path) -> None:
    assert separate(call, "--name", "{model}/{voice:02d}-{stem}").status == 0
    assert files_below(tmp_path / "out") == ["tiny/01-call.wav", "tiny/02-call.wav"]


def test_references_give_each_voice_its_improvement(separate: Command, call: Path, tmp_path: Path) -> None:
    first = separate(call, "-o", tmp_path / "first")
    # The voices given back as references in the other order: each output has its own, exactly.
    one, two = (Path(path) for path in first.lines)
    soft = write(tmp_path / "soft.wav", audio.read_audio(one)[0] * 0.5 + 0.001 * voice(300))
    result = separate(call, "--json", "--reference", two, "--reference", soft)
    gains = json.loads(result.lines[0])["si_snri"]
    assert gains[1] is None  # output 2 equals its reference: infinite
    assert gains[0] is not None
    assert "undefined" in separate(call, "--force", "--reference", two, "--reference", soft).lines[1]


def test_improvements_of_voices_in_a_pipe_are_said(separate: Command, call: Path, tmp_path: Path) -> None:
    alone = separate(call, "-o", tmp_path / "first").lines
    soft = write(tmp_path / "soft.wav", audio.read_audio(Path(alone[0]))[0] * 0.5 + 0.001 * voice(300))
    references = ("--reference", soft, "--reference", alone[1])
    said = [line.split("  ")[1] for line in separate(call, "-o", tmp_path / "again", *references).lines]
    assert re.fullmatch(r"SI-SNRi [+-]\d+\.\d\d dB", said[0])
    for quiet in ([], ["-q"]):
        result = separate(call, "-o", "-", *references, *quiet)
        told = [line for line in result.errors if "SI-SNRi" in line]
        assert told == [f"septool: voice {number}: {gain}" for number, gain in enumerate(said, 1)]


def test_more_channels_than_a_format_holds_are_told(separate: Command, tmp_path: Path) -> None:
    six = write(tmp_path / "six.wav", np.stack([voice(100 + 20 * n, seconds=0.5) for n in range(6)]))
    result = separate(six, "-o", "-", "--channel", "each", "--format", "flac")
    assert (result.status, result.out) == (1, b"")
    assert result.errors[-1] == f"septool: {six}: flac cannot hold 12 channels; use wav"


def linked(html: Path) -> list[Path]:
    """Return the files that a page points to, from where it lies."""
    sources = re.findall(r'<audio[^>]* src="([^"]+)"', html.read_text(encoding="utf-8"))
    return [(html.parent / unquote(source)).resolve() for source in sources]


def test_a_page_has_recordings_references_voices_and_what_failed(separate: Command, call: Path, tmp_path: Path) -> None:
    html = tmp_path / "pages/page.html"
    one, two = (Path(path) for path in separate(call, "-o", tmp_path / "first").lines)
    arguments = (call, "--html", html, "--reference", one, "--reference", two)
    assert separate(*arguments).status == 0
    voices = [tmp_path / f"out/call_s{n}.wav" for n in (1, 2)]
    assert linked(html) == [call, one, two, *voices]
    assert (
        "<figcaption>voice 1 (SI-SNRi undefined: the estimate equals the reference): 3.0 s, 8000 Hz" in html.read_text()
    )
    again = separate(call, tmp_path / "missing.wav", "--html", html, "--skip-existing")
    assert again.status == 1
    assert linked(html) == [call, *voices]
    assert f'<p class="failed">{tmp_path}/missing.wav does not exist</p>' in html.read_text()


def test_references_of_another_length_are_refused_before_anything_is_written(
    separate: Command, call: Path, tmp_path: Path
) -> None:
    short = write(tmp_path / "short.wav", voice(100, seconds=1))
    result = separate(call, "--reference", short, "--reference", short)
    assert result.status == 1
    assert result.errors == [f"septool: {short} has 8000 samples at 8000 Hz, {call} has 24000"]
    assert files_below(tmp_path / "out") == []


# Wrong usage: nothing is tried.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "doc"], "--format is 'doc'; it can be aif, "),
        (["--overlap", "20"], "overlap is 20 s; it has to be above 0 and at most half of segment (30 s)"),
        (["--speakers", "auto", "--segment", "5"], "--segment 5 is not for conversations; leave out --speakers"),
        (["--segment", "inf"], "at most 86,400, not 'inf'"),
        (["--name", "{stem}"], "gives every voice the same file; put {voice} in it"),
        (["--name", "{speaker}"], "can use {stem}, {suffix}, {voice} and {model} only"),
        (["--name", "{stem.__class__}{voice}"], "can use {stem}, {suffix}, {voice} and {model} only"),
        (["-o", "v4.wav"], "--out v4.wav is named like a file; name a folder, and the files with --name and --format"),
        (["-o", "-", "--json"], "--json and --out - would both write to standard output; name a file with --out"),
        (["--reference", "a.wav"], "tiny gives 2 voices; give as many references, not 1"),
        (["--html", "page.txt"], "--html page.txt has to end in .html"),
        (["--html", "page.html", "-o", "-"], "--html page.html points to files; name them instead of standard"),
        (["-", "--html", "page.html"], "--html page.html points to files; name them instead of standard"),
        (["-d", "gpu"], "unknown device 'gpu'; it can be auto, cpu, cuda, cuda:N or mps"),
        (["-d", "meta"], "unknown device 'meta'"),
        (["-d", "cpu:3"], "device cpu:3 is not there; this machine has 1 cpu device"),
    ],
)
def test_wrong_usage(septool: Command, call: Path, tiny_checkpoint: Path, arguments: list[str], said: str) -> None:
    result = septool("separate", call, "-m", tiny_checkpoint, "-o", call.parent, *arguments)
    assert result.status == 2
    assert len(result.errors) == 1
    assert said in result.errors[0]
    assert files_below(call.parent) == ["call.wav"]


def test_an_option_that_is_no_number_is_wrong_usage(separate: Command, call: Path) -> None:
    assert separate(call, "--segment", "long").status == 2


def test_a_folder_without_audio_is_wrong_usage(separate: Command, tmp_path: Path) -> None:
    result = separate(tmp_path)
    assert result.status == 2
    assert result.errors[0].startswith(f"septool: {tmp_path} holds no audio files (.")


def test_two_recordings_that_would_share_a_file_are_wrong_usage(separate: Command, call: Path, tmp_path: Path) -> None:
    other = call.with_suffix(".flac")
    write(other, voice(100, seconds=0.2))
    for arguments in ((call, other), (call.parent,)):
        result = separate(*arguments)
        assert result.status == 2
        assert result.errors[0].endswith("/out/call_s1.wav; put {suffix} in --name")
    away = Path(shutil.copy(call, tmp_path / "call.wav"))
    assert separate(call, away).errors[0].endswith("; name the folder that both are in, or give each an --out")
    assert not (tmp_path / "out").exists()
    assert separate(call.parent, "--name", "{stem}_{suffix}_s{voice}").status == 0
    assert files_below(tmp_path / "out") == [f"call_{suffix}_s{n}.wav" for suffix in ("flac", "wav") for n in (1, 2)]


def test_a_recording_named_twice_is_separated_once(separate: Command, call: Path) -> None:
    result = separate(call, call.parent, call.parent / "../in/call.wav")
    assert (result.status, len(result.lines), len(result.errors)) == (0, 2, 1)


def test_a_recording_is_never_replaced_by_a_voice(separate: Command, call: Path) -> None:
    second = Path(shutil.copy(call, call.with_name("call_s1.wav")))
    before = second.read_bytes()
    result = separate(call, second, "-o", call.parent, "--force")
    assert result.status == 2
    assert result.errors == [f"septool: {second} would be replaced by a voice of {call}; use --name or --out"]
    assert second.read_bytes() == before


def test_several_recordings_do_not_fit_into_a_pipe(separate: Command, call: Path) -> None:
    result = separate(call, "other.wav", "-o", "-")
    assert result.status == 2
    assert result.errors == ["septool: --out - takes one input, 2 were given"]


# Bad recordings: one line each, and the others are done.


def damaged(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    sound = voice(120, seconds=0.5)
    match kind:
        case "missing":
            pass
        case "empty":
            path.touch()
        case "text":
            path.write_text("I am no sound.\n" * 50)
        case "frameless":
            soundfile.write(path, sound[:0], RATE)
        case "nan":
            sound[100] = np.nan
            soundfile.write(path, sound, RATE, subtype="FLOAT")
        case "infinite":
            sound[100] = np.inf
            soundfile.write(path, sound, RATE, subtype="FLOAT")
        case "huge":
            soundfile.write(path, 1e30 * sound, RATE, subtype="FLOAT")
        case "torn":
            path = path.with_suffix(".flac")
            soundfile.write(path, sound, RATE)
            path.write_bytes(path.read_bytes()[:3000])
        case "raw":
            path = path.with_suffix(".raw")
            path.write_bytes(b"12345678")
        case "pipe":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path)
    return path


BAD = {
    "missing": "{} does not exist",
    "empty": "{} is empty",
    "text": "{} cannot be read as audio (Format not recognised); septool doctor lists the formats that can be read",
    "frameless": "{} has no samples",
    "nan": "{} holds non-finite samples (NaN or infinite)",
    "infinite": "{} holds non-finite samples (NaN or infinite)",
    "huge": "{} holds samples of 2e+29; full scale is 1. Is it damaged?",
    "torn": "{} breaks off while decoding: ",
    "raw": "{} has no header that says what it is; say it with --raw, such as s16le:8000:1",
    "pipe": "{} cannot be read: nobody writes to this named pipe",
    "loop": "{} cannot be read: Too many levels of symbolic links",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_recording_is_one_line_and_the_others_are_done(
    separate: Command, call: Path, tmp_path: Path, kind: str
) -> None:
    bad = damaged(tmp_path, kind)
    result = separate(bad, call, "-q")
    assert result.status == 1
    assert len(result.errors) == 1
    assert result.errors[0].startswith("septool: " + BAD[kind].format(bad))
    assert files_below(tmp_path / "out") == ["call_s1.wav", "call_s2.wav"]


def test_a_cut_off_recording_gives_what_is_there_and_says_so(separate: Command, call: Path, tmp_path: Path) -> None:
    whole = call.read_bytes()
    call.write_bytes(whole[: len(whole) // 2])
    result = separate(call)
    assert result.status == 0
    assert f"septool: {call} is cut off: its header says 3.0 s, 1.5 s are there" in result.errors
    assert audio.audio_info(tmp_path / "out/call_s1.wav").frames == audio.audio_info(call).frames == 11989
    assert separate(call, "--force", "-q").errors == [
        f"septool: {call} is cut off: its header says 3.0 s, 1.5 s are there"
    ]


def test_the_endless_header_of_a_pipe_is_no_cut_off_recording(separate: Command, call: Path) -> None:
    content = bytearray(call.read_bytes())
    for place in (4, content.index(b"data") + 4):  # as ffmpeg and sox write to a pipe
        content[place : place + 4] = b"\xff" * 4
    call.write_bytes(content)
    result = separate(call)
    assert result.status == 0
    assert len(result.errors) == 1
    assert audio.audio_info(Path(result.lines[0])).frames == 24000


@pytest.mark.parametrize("samples", [np.full(1, 0.1), np.zeros(8000), np.full(500, 1.0)], ids=["one", "silence", "dc"])
def test_sound_without_speech_comes_back_in_its_length(separate: Command, tmp_path: Path, samples: np.ndarray) -> None:
    path = write(tmp_path / "x.wav", samples.astype(np.float32), subtype="FLOAT")
    result = separate(path)
    assert result.status == 0
    for voice_path in result.lines:
        estimate, _ = audio.read_audio(Path(voice_path))
        assert estimate.shape == (1, len(samples))
        assert np.isfinite(estimate).all()
        if not samples.any():
            assert not estimate.any()


def test_channels_are_averaged_and_high_rates_are_kept(separate: Command, tmp_path: Path) -> None:
    sound = np.stack([voice(100 + 20 * n, seconds=0.3, rate=192000) for n in range(8)])
    path = write(tmp_path / "x.wav", sound, 192000)
    result = separate(path)
    assert result.status == 0
    assert f"septool: {path}: 8 channels were averaged to one; --channel takes one of them" in result.errors
    assert "septool: tiny hears up to 4000 Hz; what lies above is left out" in result.errors
    about = audio.audio_info(Path(result.lines[0]))
    assert (about.rate, about.frames, about.channels) == (192000, 57600, 1)


def test_a_channel_can_be_chosen(separate: Command, call: Path, speech: np.ndarray, tmp_path: Path) -> None:
    alone = separate(call, "-o", tmp_path / "alone").lines
    both = write(tmp_path / "both.wav", np.stack([voice(300), speech.sum(0)]))
    result = separate(both, "--channel", 2, "--reference", alone[0], "--reference", alone[1])
    assert result.status == 0
    assert not any("averaged" in line for line in result.errors)
    assert [line.split("  ")[1] for line in result.lines] == [
        "SI-SNRi undefined: the estimate equals the reference"
    ] * 2  # exactly what it is alone
    for chosen, whole in zip(result.lines, alone, strict=True):
        assert Path(chosen.split("  ")[0]).read_bytes() == Path(whole).read_bytes()
    assert separate(both, "--channel", 3, "--force").errors == [
        f"septool: {both} has 2 channels; there is no channel 3"
    ]


def test_a_run_says_once_what_is_true_of_all_and_counts(separate: Command, call: Path, tmp_path: Path) -> None:
    fast = [write(tmp_path / f"fast{n}.wav", voice(100, seconds=0.2, rate=16000), 16000) for n in range(2)]
    separate(call)
    result = separate(*fast, tmp_path / "missing.wav", call, "--skip-existing")
    assert sum("hears up to" in line for line in result.errors) == 1
    assert result.errors[-2:] == [
        "septool: 2 done, 1 failed, 1 there already",
        f"septool: {tmp_path}/missing.wav does not exist",
    ]


def test_audio_is_not_written_to_a_terminal(call: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(UsageError, match="--out - writes audio, and standard output is a terminal; send it to a file"):
        next(separating.separate([str(call)], model=str(tiny_checkpoint), out="-"))


def test_loud_recordings_say_how_much_was_clipped(separate: Command, call: Path, speech: np.ndarray) -> None:
    write(call, speech.sum(0) * 20, subtype="FLOAT")
    assert not any("clipped" in line for line in separate(call).errors)  # float files hold any level
    loud = separate(call, "--format", "ogg").errors
    assert sum(line.endswith("samples went over full scale and were clipped") for line in loud) == 1


def test_a_name_that_is_not_text_comes_out_as_it_is(separate: Command, call: Path) -> None:
    odd = os.fsdecode(os.fsencode(call.parent) + b"/t\xe9l\xe9.wav")
    shutil.copy(call, odd)
    result = separate(odd, "-o", call.parent)
    assert result.status == 0
    assert result.out.splitlines()[0] == os.fsencode(call.parent) + b"/t\xe9l\xe9_s1.wav"
    assert Path(os.fsdecode(result.out.splitlines()[1])).exists()


# Where the voices go.


def test_an_output_folder_that_cannot_be_made(separate: Command, call: Path, tmp_path: Path) -> None:
    result = separate(call, "-o", call / "voices")  # below a file: not even root can make it
    assert result.status == 1
    assert result.errors == [f"septool: {call}/voices cannot be made: Not a directory"]
    folder = call.rename(call.with_suffix(""))
    result = separate(folder, "-o", folder)
    assert result.errors == [f"septool: {folder} is a file, not a folder"]


def test_existing_voices_are_kept_without_force(separate: Command, call: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out/call_s2.wav"
    mine.write_text("mine")
    result = separate(call)
    assert result.status == 1
    assert result.errors == [f"septool: {call}: {mine} exists; use --force to replace it or --skip-existing"]
    half = separate(call, "--skip-existing")
    assert half.status == 1
    assert half.errors == [f"septool: {call}: {mine} exists; the other voices do not; remove it or use --force"]
    assert files_below(tmp_path / "out") == ["call_s2.wav"]
    assert mine.read_text() == "mine"
    assert separate(call, "--force").status == 0
    assert audio.audio_info(mine).frames == 24000


def test_a_name_can_put_each_voice_in_a_folder_of_its_own(separate: Command, call: Path, tmp_path: Path) -> None:
    assert separate(call, "--name", "{voice}/{stem}").status == 0
    assert files_below(tmp_path / "out") == ["1/call.wav", "2/call.wav"]


def test_a_page_can_name_recordings_whose_names_are_not_utf8(separate: Command, call: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    odd = call.with_name(os.fsdecode(b"caf\xe9.wav"))
    try:
        shutil.copy(call, odd)
    except OSError:
        pytest.skip("this file system has no such names")
    html = tmp_path / "page.html"
    assert separate(odd, "--html", html).status == 0
    assert "caf%E9_s1.wav" in html.read_text(encoding="utf-8")


def test_skip_existing_leaves_what_is_done(separate: Command, call: Path, tmp_path: Path) -> None:
    separate(call)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    result = separate(call, "--skip-existing", "--json")
    assert result.status == 0
    assert json.loads(result.lines[0])["skipped"] is True
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_machines_that_share_a_folder_write_every_voice_once(
    separate: Command, call: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(call.parent)  # the names decide, and are the same every time
    for number in range(5):
        write(call.with_name(f"{number}.wav"), voice(100, seconds=0.1))
    lines = []
    for part in (2, 1):  # the second finds the voices of the first in the folder
        result = separate(".", "-o", ".", "--shard", f"{part}/2")
        assert result.status == 0, result.errors
        assert 0 < len(result.lines) < 12
        lines += result.lines
    assert sorted(lines) == sorted({path.name for path in call.parent.rglob("*_s?.wav")})
    assert len(lines) == 12
    assert separate(call, "--shard", "0/2").errors == [
        "septool: --shard is '0/2'; write it as I/N, with I from 1 to N, such as 3/16"
    ]


@pytest.mark.skipif(not workers.FORKS, reason="processes are not forked on this system")
def test_any_number_of_processes_gives_the_same_in_the_same_order(
    separate: Command, call: Path, tmp_path: Path
) -> None:
    names = [call, *(Path(shutil.copy(call, call.with_name(f"a{n}.wav"))) for n in range(4))]
    write(names[2], np.stack([voice(100)] * 2))
    names.insert(1, damaged(tmp_path, "text"))
    one, three = (separate(*names, "-o", tmp_path / str(jobs), "-j", jobs, "--format", "flac") for jobs in (1, 3))
    assert one.status == three.status == 1
    assert [line.replace("/1/", "/3/") for line in one.lines] == three.lines
    times = re.compile(r"in [0-9.]+ s")
    assert [times.sub("", line) for line in one.errors] == [times.sub("", line) for line in three.errors]
    assert files_below(tmp_path / "1") == files_below(tmp_path / "3")
    assert len(files_below(tmp_path / "1")) == 10
    for name in files_below(tmp_path / "1"):
        # Another number of threads adds up in another order.
        first, other = (audio.read_audio(tmp_path / jobs / name)[0] for jobs in "13")
        np.testing.assert_allclose(first, other, atol=2 / 2**15)


def test_processes_are_for_the_processor(tiny_checkpoint: Path, call: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(separating, "choose_device", lambda _: torch.device("meta"))
    with pytest.raises(UsageError, match="--jobs 2 takes --device cpu and Linux"):
        next(separating.separate([str(call)], model=str(tiny_checkpoint), jobs=2))


@contextmanager
def no_more_than(size: int) -> Iterator[None]:
    """Files cannot grow beyond ``size`` bytes: what a full disk does to a writer, without a disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("size", [0, 700, 4000])
def test_a_full_disk_leaves_nothing_half_written(
    separate: Command, call: Path, tmp_path: Path, form: str, size: int
) -> None:
    separate(call, "--format", form)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with no_more_than(size):
        result = separate(call, "--format", form, "--force", "-q")
    assert result.status == 1
    assert len(result.errors) == 1
    assert result.errors[0].startswith(f"septool: {call}: {tmp_path / 'out'}")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


# Models.


def test_an_unknown_model_is_wrong_usage(
    septool: Command, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: catalogue.Entry
) -> None:
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"papez-small": entry})
    result = septool("separate", call, "-m", "papes", "-o", tmp_path / "out")
    assert result.status == 2
    assert result.errors == ["septool: unknown model 'papes'; did you mean 'papez'? (known: papez, papez-small)"]


def test_a_missing_model_file(septool: Command, call: Path, tmp_path: Path) -> None:
    result = septool("separate", call, "-m", tmp_path / "no.safetensors")
    assert result.status == 1
    assert result.errors == [f"septool: checkpoint {tmp_path}/no.safetensors does not exist"]


@pytest.fixture
def entry(tiny_checkpoint: Path) -> catalogue.Entry:
    return catalogue.Entry(
        model="papez",
        sha256=sha256_of(tiny_checkpoint),
        bytes=tiny_checkpoint.stat().st_size,
        sample_rate=RATE,
        sources=2,
        licence="CC0",
        trained_on="nothing",
        intended_use="tests",
        file="tiny.safetensors",
        default=True,
    )


def test_a_damaged_catalogue_entry_names_both_sums(
    septool: Command,
    call: Path,
    tmp_path: Path,
    tiny_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    entry: catalogue.Entry,
) -> None:
    broken = tmp_path / "tiny.safetensors"
    content = bytearray(tiny_checkpoint.read_bytes())
    content[-20] ^= 1
    broken.write_bytes(content)
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"papez-small": entry})
    monkeypatch.setattr(catalogue, "weights_path", lambda _: broken)
    result = septool("separate", call, "-m", "papez", "-o", tmp_path / "out")
    assert result.status == 1
    assert len(result.errors) == 1
    assert "checkpoint tiny.safetensors is damaged: its sha256 is " in result.errors[0]
    assert f"checkpoints.toml says {entry.sha256[:12]}...; install septool again" in result.errors[0]
    monkeypatch.setattr(catalogue, "weights_path", lambda _: tiny_checkpoint)
    assert septool("separate", call, "-m", "papez", "-o", tmp_path / "out").status == 0


@pytest.mark.parametrize("place", [0, 9, 40, "config", "papez", "cut"])
def test_a_damaged_file_is_one_line(
    septool: Command, call: Path, tmp_path: Path, tiny_checkpoint: Path, place: int | str
) -> None:
    broken = tmp_path / "broken.safetensors"
    content = bytearray(tiny_checkpoint.read_bytes())
    if place == "cut":
        del content[-100:]
    else:
        content[place if isinstance(place, int) else content.index(place.encode())] ^= 1
    broken.write_bytes(content)
    result = septool("separate", call, "-m", broken, "-o", tmp_path / "out")
    assert result.status == 1
    assert len(result.errors) == 1
    assert result.errors[0].startswith(f"septool: checkpoint {broken}")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_shape_are_one_line(
    septool: Command, call: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    model, header = checkpoints.load(tiny_checkpoint)
    other = tmp_path / "other.safetensors"
    checkpoints.save(other, model.state_dict(), replace(header, config=header.config | {"feedforward": 25}))
    result = septool("separate", call, "-m", other)
    assert result.status == 1
    assert len(result.errors) == 1
    assert "does not fit the model in 3 places: " in result.errors[0]


def test_weights_that_are_no_numbers_give_no_files(
    septool: Command, call: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    model, header = checkpoints.load(tiny_checkpoint)
    other = tmp_path / "nan.safetensors"
    checkpoints.save(other, {name: value * np.nan for name, value in model.state_dict().items()}, header)
    result = septool("separate", call, "-m", other, "-o", tmp_path / "out")
    assert result.status == 1
    assert result.errors == [f"septool: {call}: the model returned non-finite samples; are its weights damaged?"]
    assert files_below(tmp_path / "out") == []


# Pipes and signals.


def test_standard_input_to_standard_output(separate: Command, tmp_path: Path) -> None:
    sound = write(tmp_path / "x.flac", np.stack([voice(100, rate=44100, seconds=0.7)] * 2), 44100)
    result = separate("-", "-o", "-", stdin=sound.read_bytes())
    assert result.status == 0
    with soundfile.SoundFile(BytesIO(result.out)) as file:
        assert (file.format, file.channels, file.samplerate, file.frames) == ("WAV", 2, 44100, 30870)
    assert "septool: standard input: 2 channels were averaged to one; --channel takes one of them" in result.errors


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "standard input is empty"), (b"no sound" * 99, "standard input cannot be read as audio (Format")],
)
def test_bad_standard_input_is_called_by_its_name(separate: Command, content: bytes, said: str) -> None:
    result = separate("-", "-o", "-", stdin=content)
    assert result.status == 1
    assert result.out == b""
    assert len(result.errors) == 1
    assert result.errors[0].startswith(f"septool: {said}")


def test_standard_input_into_a_folder(separate: Command, call: Path, tmp_path: Path) -> None:
    done = separate("-", stdin=call.read_bytes())
    assert done.status == 0
    assert done.errors[0].startswith("septool: standard input: 3.0 s in ")
    assert files_below(tmp_path / "out") == ["stdin_s1.wav", "stdin_s2.wav"]
    there = tmp_path / "out/stdin_s1.wav"
    assert separate("-", stdin=call.read_bytes()).errors == [
        f"septool: standard input: {there} exists; use --force to replace it or --skip-existing"
    ]


def test_a_reader_that_leaves_early_is_no_error_to_talk_about(
    start: Callable[..., subprocess.Popen[bytes]], tiny_checkpoint: Path, call: Path
) -> None:
    process = start("separate", "-", "-o", "-", "-q", "-m", tiny_checkpoint, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write(call.read_bytes())
    process.stdin.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 1  # the voices went nowhere


def test_standard_output_that_is_closed_takes_no_voices(
    start: Callable[..., subprocess.Popen[bytes]], tiny_checkpoint: Path, call: Path
) -> None:
    process = start("separate", call, "-o", "-", "-m", tiny_checkpoint, preexec_fn=lambda: os.close(1))
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, b"septool: standard output is closed\n")


def test_help_for_a_reader_that_has_gone_is_no_traceback(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start("separate", "--help")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # before Python has started
    assert process.stderr.read() == b""
    assert process.wait(60) == 1


@pytest.mark.skipif(not hasattr(select, "poll"), reason="this system does not tell")
def test_a_reader_that_has_gone_ends_the_work_before_there_is_anything_to_write(
    tiny_checkpoint: Path, call: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, start = os.pipe()
    with os.fdopen(start, "wb") as out:
        monkeypatch.setattr(sys, "stdout", out)
        check_reader()
        os.close(end)
        monkeypatch.setattr(runner, "copy_to_stdout", lambda _: pytest.fail("the work was done"))
        with pytest.raises(BrokenPipeError):
            list(separating.separate([call], model=str(tiny_checkpoint), out="-", device="cpu"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_keeps_what_is_done_and_leaves_no_remains(
    start: Callable[..., subprocess.Popen[bytes]], tiny_checkpoint: Path, call: Path, tmp_path: Path, jobs: int
) -> None:
    for n in range(9):
        shutil.copy(call, call.with_name(f"a{n}.wav"))
    # A recording so long that the signal finds it being written.
    write(call.with_name("b.wav"), np.tile(voice(100), 200))
    arguments = ("-m", tiny_checkpoint, "-d", "cpu", "--segment", 3, "--overlap", 1, "-j", jobs)
    process = start("separate", call.parent, "-o", tmp_path / "out", *arguments, start_new_session=True)
    out, begun = tmp_path / "out", ".b_s1.wav.*.partial"
    while not (any(out.glob(begun)) and len(list(out.glob("a*.wav"))) == 18):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and its workers
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.decode().splitlines()[-1] == "septool: interrupted; what was finished is kept"
    # The last recording, a short one, may be finished by the other process.
    last, done = {"call_s1.wav", "call_s2.wav"}, set(files_below(tmp_path / "out"))
    assert sorted(done - last) == sorted(f"a{n}_s{v}.wav" for n in range(9) for v in (1, 2))
    assert done & last in (set(), last)
    assert all(audio.audio_info(path).frames == 24000 for path in (tmp_path / "out").glob("*.wav"))


def test_a_reference_is_never_replaced(septool: Command, speech: np.ndarray, tmp_path: Path) -> None:
    names = [tmp_path / f"mix{suffix}.wav" for suffix in ("", "_s1", "_s2")]
    for path, samples in zip(names, (speech.sum(0), *speech), strict=True):
        audio.write_audio(path, samples, RATE)
    before = names[1].read_bytes()
    references = [part for path in names[1:] for part in ("--reference", path)]
    result = septool("separate", names[0], "-o", tmp_path, *references, "--force", "-d", "cpu")
    assert result.status == 2
    assert result.errors == [f"septool: --reference {names[1]} would be replaced by the voice of {names[0]}; use --out"]
    assert names[1].read_bytes() == before


def test_a_name_that_is_too_long_fails_alone(
    septool: Command, call: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    long = call.with_name("a" * 251 + ".wav")
    long.write_bytes(call.read_bytes())
    result = septool("separate", long, call, "-m", tiny_checkpoint, "-o", tmp_path / "out", "-d", "cpu")
    assert result.status == 1
    assert any("ame too long" in line for line in result.errors)
    assert (tmp_path / "out" / "call_s2.wav").exists()


def test_force_spares_what_has_the_name_of_a_voice(separate: Command, call: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    shutil.copy(call, folder / "x.wav")
    audio.write_audio(folder / "x_s1.wav", voice(200), RATE)  # which septool did not write
    before = (folder / "x_s1.wav").read_bytes()
    result = separate(folder, "-o", folder, "--force")
    assert result.status == 2
    assert "x_s1.wav would be replaced by a voice of" in result.errors[-1]
    assert (folder / "x_s1.wav").read_bytes() == before


def test_a_link_that_leads_nowhere_fails(separate: Command, call: Path) -> None:
    (call.parent / "annexed.wav").symlink_to("/gone/annex/object")
    result = separate(call.parent)
    assert result.status == 1
    assert f"{call.parent / 'annexed.wav'} does not exist" in "\n".join(result.errors)
