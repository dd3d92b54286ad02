"""Recordings and situations in which ``separate`` and ``extract`` lost sound, work or words."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from septool import audio, claims, locks, workers
from septool.atomic import atomic_write_group
from septool.batch import runner
from septool.batch.output_folder import OUTPUT_LIST
from septool.claims import claim, is_claimed
from septool.inference.findings import loudest_if_cancelling
from tests.conftest import RATE, ROOT, Command, files_below, voice, write


@pytest.fixture
def extract(septool: Command, tiny_extractor: Path, tmp_path: Path) -> Command:
    def command(*arguments: object):
        return septool("extract", *arguments, "-m", tiny_extractor, "-d", "cpu", "-o", tmp_path / "out")

    return command


# What a result is.


def test_channels_that_cancel_give_the_louder_one(separate: Command, call: Path, tmp_path: Path) -> None:
    mono, _ = audio.read_audio(call)
    alone = separate(call, "-o", tmp_path / "alone").lines
    for share, louder in ((1.0, 1), (0.95, 1), (-0.8, 2)):
        sides = np.vstack((mono, -share * mono)) if share > 0 else np.vstack((share * mono, mono))
        path = write(tmp_path / "in/stereo.wav", sides)
        result = separate(path, "--json", "--force", "--html", tmp_path / "page.html")
        assert result.status == 0
        text = f"{path}: its 2 channels cancel each other; channel {louder}, the loudest, is used"
        assert f"septool: {text}" in result.errors
        assert text in (tmp_path / "page.html").read_text()
        (finding,) = json.loads(result.lines[0])["findings"]
        assert finding == {"kind": "cancelled", "text": text, "is_partial": False}
        for one, whole in zip(json.loads(result.lines[0])["outputs"], alone, strict=True):
            np.testing.assert_array_equal(audio.read_audio(Path(one))[0], audio.read_audio(Path(whole))[0])


@pytest.mark.parametrize(
    ("make", "loudest"),
    [
        (lambda m: [m, m], None),
        (lambda m: [m, 0 * m], None),
        (lambda m: [m, np.roll(m, 4000)], None),
        (lambda m: [m, -0.4 * m], None),
        (lambda m: [m + 0.3, m - 0.3], None),
        (lambda m: [0 * m, 0 * m], None),
        (lambda m: [m] + [0 * m] * 31, None),
        (lambda m: [m, -m, 0 * m, 0 * m], 1),
        (lambda m: [0.3 - m, 1.02 * m], 2),
        (lambda m: [m], None),
    ],
    ids=["equal", "one-side", "delayed", "partly", "offsets", "silence", "one-of-32", "two-of-4", "offset", "mono"],
)
def test_only_channels_that_cancel_count(
    tmp_path: Path, make: Callable[[np.ndarray], list[np.ndarray]], loudest: int | None
) -> None:
    path = write(tmp_path / "x.wav", np.stack(make(voice(130))), subtype="FLOAT")
    assert loudest_if_cancelling(path) == loudest


def test_a_reference_whose_channels_cancel(extract: Command, call: Path, tmp_path: Path) -> None:
    known = voice(110, seed=5)
    plain, sides = write(tmp_path / "plain.wav", known), write(tmp_path / "sides.wav", np.stack((known, -0.9 * known)))
    (alone,) = extract(call, "--reference", plain).lines
    before = audio.read_audio(Path(alone))[0]
    result = extract(call, "--reference", sides, "--force")
    assert f"septool: {sides}: its channels cancel each other; channel 1, the loudest, is used" in result.errors
    np.testing.assert_array_equal(audio.read_audio(Path(alone))[0], before)


@pytest.mark.parametrize(
    ("offset", "level", "silent"), [(0, 0, True), (0.1, 0, True), (0, 8e-6, True), (0, 2e-5, False)]
)
def test_what_models_take_for_silence_is_told(
    separate: Command, tmp_path: Path, offset: float, level: float, silent: bool
) -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    path = write(tmp_path / "x.wav", offset + level * noise, subtype="FLOAT")
    result = separate(path, "--json")
    assert result.status == 0
    assert (f"septool: {path}: it is silent" in result.errors) == silent
    found = {"kind": "empty", "text": f"{path}: it is silent", "is_partial": False}
    assert (found in json.loads(result.lines[0])["findings"]) == silent


def test_clipping_and_cut_recordings_are_in_the_json_and_on_the_page(
    separate: Command, call: Path, tmp_path: Path
) -> None:
    samples, _ = audio.read_audio(call)
    write(call, samples * 20, subtype="FLOAT")
    call.write_bytes(call.read_bytes()[:-40_000])
    result = separate(call, "--format", "ogg", "--json", "--html", tmp_path / "page.html")
    assert result.status == 0
    row = json.loads(result.lines[0])
    assert [(each["kind"], each["is_partial"]) for each in row["findings"]] == [("cut-off", True), ("clipped", False)]
    page = (tmp_path / "page.html").read_text()
    for finding in row["findings"]:
        assert f'<p class="note">{finding["text"]}</p>' in page
        assert f"septool: {finding['text']}" in result.errors


def test_damage_in_the_middle_is_told_and_counts(separate: Command, call: Path, tmp_path: Path) -> None:
    source = tmp_path / "x.mp3"
    audio.write_audio(source, np.tile(audio.read_audio(call)[0][0], 3), RATE)
    content = source.read_bytes()
    middle = len(content) // 2
    damage = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    source.write_bytes(content[:middle] + damage + content[middle:])
    result = separate(source, call, "--json", "-q")
    assert result.status == 1
    row, other = map(json.loads, result.lines)
    assert row["seconds"] == pytest.approx(9, abs=0.5)
    (text,) = [each["text"] for each in row["findings"] if each["kind"] == "gap" and each["is_partial"]]
    assert text in "\n".join(result.errors)  # although -q was given
    assert len(other["outputs"]) == 2
    assert "septool: 1 done in part, 1 done" in separate(source, call, "--force").errors


# Folders.


def test_a_folder_without_permission_does_not_end_the_batch(
    separate: Command, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = call.parent / "lost+found"
    hidden.mkdir()
    scandir = os.scandir

    def refuse(path: object) -> Iterator[os.DirEntry[str]]:
        if Path(str(path)) == hidden:
            raise PermissionError(13, "Permission denied")
        return scandir(path)  # type: ignore[return-value, type-var]

    monkeypatch.setattr(os, "scandir", refuse)  # to root everything is permitted
    result = separate(call.parent, "--json", "-q")
    assert result.status == 1
    done, failed = map(json.loads, result.lines)
    assert len(done["outputs"]) == 2
    assert failed["input"] == str(hidden)
    assert result.errors == [f"septool: {hidden} cannot be listed: no permission"]


def test_a_folder_names_what_it_leaves_out(separate: Command, call: Path) -> None:
    (call.parent / "notes.txt").write_text("not audio")
    result = separate(call.parent)
    assert result.status == 0
    assert "septool: left out: 1 .txt" in result.errors


def test_voices_of_an_earlier_run_are_no_recordings(separate: Command, call: Path, tmp_path: Path) -> None:
    shutil.copy(call, call.with_name("other.wav"))
    folder = call.parent
    assert separate(folder, "-o", folder / "voices").status == 0
    second = separate(folder, "-o", folder / "again", "--name", "{model}/{stem}-{voice}")
    assert second.status == 0
    assert "septool: 4 files are left out: they are voices that septool wrote" in second.errors
    assert len(second.lines) == 4
    assert files_below(folder / "again") == sorted(f"tiny/{n}-{v}.wav" for n in ("call", "other") for v in (1, 2))
    # Whoever names them, or a folder with nothing else, wants them; and another file of the name is another recording.
    assert len(separate(folder / "voices/call_s1.wav", "-o", tmp_path / "one").lines) == 2
    assert len(separate(folder / "voices", "-o", tmp_path / "two").lines) == 8
    write(folder / "voices/call_s1.wav", voice(100, seconds=0.5))
    assert len(separate(folder, "-o", tmp_path / "three").lines) == 6


def test_a_list_of_outputs_that_is_damaged_costs_nothing(separate: Command, call: Path) -> None:
    (call.parent / OUTPUT_LIST).write_bytes(b'\xff\n{"name"\n[1]\n{"name": "x", "bytes": "y"}\n' + b"[" * 10**5 + b"\n")
    assert separate(call.parent).status == 0


def test_a_shard_is_the_same_for_every_spelling(separate: Command, call: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        write(call.parent / f"deep/{number}.wav", voice(100, seconds=0.1))
    monkeypatch.chdir(call.parent.parent)
    spellings = [call.parent, "in", "./in/", "in/../in", call.parent.parent / "in" / "."]
    parts = [separate(each, "--shard", "1/2", "--force").lines for each in spellings]
    assert 0 < len(parts[0]) < 14
    assert all(part == parts[0] for part in parts)


# Pages and disks.


def test_a_page_that_cannot_be_written_is_told_before_the_work(
    separate: Command, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {call / "page.html": "is a file, not a folder", tmp_path / ("a" * 252 + ".html"): "more than 255 bytes"}
    for page, said in pages.items():
        result = separate(call, "--html", page)
        assert (result.status, len(result.errors)) == (2, 1)
        assert said in result.errors[0]
    monkeypatch.setattr(os, "access", lambda *_: False)  # to root everything is permitted
    result = separate(call, "--html", tmp_path / "page.html")
    assert result.errors == [f"septool: --html {tmp_path}/page.html cannot be written: no permission for {tmp_path}"]
    assert not (tmp_path / "out").exists()


# Other runs, and those that were killed.


def test_what_killed_writers_left_is_removed(separate: Command, call: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom septool.atomic import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, out / "x_s1.wav"], check=False, env=os.environ | {"PYTHONPATH": ROOT})
    assert [path.name.startswith(".x_s1.wav.") for path in out.iterdir()] == [True]
    assert separate(call).status == 0
    assert files_below(out) == ["call_s1.wav", "call_s2.wav"]


def test_voices_that_a_kill_left_half_renamed_are_completed(separate: Command, call: Path, tmp_path: Path) -> None:
    expected = [audio.read_audio(Path(path))[0] for path in separate(call, "-o", tmp_path / "whole").lines]
    child = os.fork()
    if not child:  # ends between the two renames, as no other signal can make it
        replace = os.replace

        def once(source: Path, target: Path) -> None:
            replace(source, target)
            os.kill(os.getpid(), signal.SIGKILL)

        os.replace = once  # type: ignore[assignment]
        (tmp_path / "out").mkdir()
        with atomic_write_group([tmp_path / f"out/call_s{n}.wav" for n in (1, 2)]) as partials:
            for n, partial in enumerate(partials, 1):
                shutil.copy(tmp_path / f"whole/call_s{n}.wav", partial)
        os._exit(0)
    os.waitpid(child, 0)
    assert [path.name for path in (tmp_path / "out").glob("*.wav")] == ["call_s1.wav"]
    assert separate(call, "--skip-existing").status == 0
    assert files_below(tmp_path / "out") == ["call_s1.wav", "call_s2.wav"]
    for n, samples in enumerate(expected, 1):
        np.testing.assert_array_equal(audio.read_audio(tmp_path / f"out/call_s{n}.wav")[0], samples)


HOLD = """
import sys, time
from pathlib import Path
from septool.claims import claim
with claim(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    sys.stdin.readline()
    for name in sys.argv[2:]:
        Path(name).write_bytes(Path(sys.argv[1]).with_name("made.wav").read_bytes())
"""


@contextmanager
def another_run(target: Path, *made: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold a recording in another process until a line is sent, and then make files."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, target, *made],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("option", [["--skip-existing"], []])
def test_a_recording_that_another_run_works_on_is_waited_for(
    separate: Command, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    targets = [tmp_path / f"out/call_s{n}.wav" for n in (1, 2)]
    write(tmp_path / "out/made.wav", voice(100))
    with another_run(targets[0], *targets) as process:
        assert is_claimed(targets[:1])
        real_claim = claim

        def release_when_waiting(target: Path, wait: Callable[[], None]):
            def waiting() -> None:
                wait()
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()

            return real_claim(target, waiting)

        monkeypatch.setattr(runner, "claim", release_when_waiting)
        result = separate(call, *option)
    assert result.status == (0 if option else 1)
    assert f"septool: {call}: another run is working on it; waiting for that" in result.errors
    # Without the option, they may be the voices of another recording of the same name.
    done = f"septool: {call}: there already" if option else f"septool: {call}: {targets[0]} exists; use --force"
    assert any(line.startswith(done) for line in result.errors)
    early = f"septool: another run is writing to {tmp_path}/out; --skip-existing leaves out what it has done"
    assert (early in result.errors) == (not option)
    assert not is_claimed(targets[:1])
    assert files_below(tmp_path / "out") == ["call_s1.wav", "call_s2.wav", "made.wav"]


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    with another_run(tmp_path / "x.wav"):
        assert is_claimed([tmp_path / "x.wav"])
    assert not is_claimed([tmp_path / "x.wav"])
    with claim(tmp_path / "x.wav", lambda: pytest.fail("nobody holds it")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_only_looks_whether_a_file_is_claimed_is_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = locks.take_lock(tmp_path / "looks")
    monkeypatch.setattr(claims, "_lock_path", lambda target: target)
    monkeypatch.setattr(claims, "check_stopping", lambda: os.close(looked))  # the moment between two attempts
    with claim(tmp_path / "looks", lambda: pytest.fail("nobody works on it")):
        pass


# Memory and workers.


def test_a_recording_that_needs_too_much_memory_fails_alone(
    separate: Command, call: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Path(shutil.copy(call, call.with_name("a-large.wav")))
    estimate_file = runner.estimate_file

    def limited(source: Path, *arguments: object, **settings: object) -> object:
        if source == large:
            raise MemoryError
        return estimate_file(source, *arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "estimate_file", limited)
    for jobs in (1, 2) if workers.FORKS else (1,):
        result = separate(call.parent, "-q", "-j", jobs, "--force")
        assert result.status == 1
        assert len(result.lines) == 2
        assert result.errors == [
            f"septool: {large}: there is not enough memory for it; give the process more, or fewer --jobs"
        ]


@pytest.mark.skipif(not workers.FORKS, reason="processes are not forked on this system")
def test_a_worker_that_is_killed_loses_its_recording_alone(
    separate: Command, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [Path(shutil.copy(call, call.with_name(f"{n}.wav"))) for n in range(5)]
    estimate_file = runner.estimate_file

    def deadly(source: Path, *arguments: object, **settings: object) -> object:
        if source == names[2]:
            os.kill(os.getpid(), signal.SIGKILL)
        return estimate_file(source, *arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "estimate_file", deadly)
    result = separate(*names, "-j", 2, "-q")
    assert result.status == 1
    assert result.errors == [f"septool: {names[2]}: {workers.KILLED}"]
    assert files_below(tmp_path / "out") == [f"{n}_s{v}.wav" for n in range(5) if n != 2 for v in (1, 2)]


def test_workers_of_a_killed_command_end(
    start: Callable[..., subprocess.Popen[bytes]], tiny_checkpoint: Path, call: Path, tmp_path: Path
) -> None:
    for n in range(4):
        write(call.with_name(f"{n}.wav"), np.tile(voice(100), 300))
    process = start("separate", call.parent, "-m", tiny_checkpoint, "-d", "cpu", "-o", tmp_path / "out", "-j", 2, "-q")
    end = time.monotonic() + 100
    while not list((tmp_path / "out").glob("*.partial")) and time.monotonic() < end:
        time.sleep(0.05)
    assert list((tmp_path / "out").glob("*.partial")), "no worker has begun"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)  # its output ends only when nobody can write to it
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{voice:1000000000}", "can use {stem}, {suffix}, {voice} and {model} only"),
        ("{stem}\0{voice}", "has a NUL, which no file name can have"),
        ("{stem!r}_{voice}", "can use {stem}, {suffix}, {voice} and {model} only"),
        ("{voice:{stem}}", "can use {stem}, {suffix}, {voice} and {model} only"),
        ("../{stem}_{voice}", "leads out of the output folder; use --out"),
        ("{stem}/../../{voice}", "leads out of the output folder; use --out"),
        ("/tmp/{voice}", "leads out of the output folder; use --out"),
    ],
)
def test_names_of_endless_length_or_of_other_folders(separate: Command, call: Path, name: str, said: str) -> None:
    result = separate(call, "--name", name)
    assert result.status == 2
    assert said in result.errors[-1]


def test_numbers_in_names_may_have_zeros_and_folders(separate: Command, call: Path, tmp_path: Path) -> None:
    result = separate(call, "--name", "{stem}/voice{voice:02}", "-o", tmp_path / "named")
    assert [Path(line).relative_to(tmp_path / "named").as_posix() for line in result.lines] == [
        "call/voice01.wav",
        "call/voice02.wav",
    ]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the folder that nothing can be made in is Linux's")
def test_a_page_in_a_folder_of_the_system_is_refused_before_the_work(separate: Command, call: Path) -> None:
    result = separate(call, "--html", "/proc/page.html")
    assert result.status != 0
    assert result.lines == []
    assert "--html /proc/page.html cannot be written: No such file or directory for /proc" in result.errors[-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-j", 10**9), "at most 1,024, not '1000000000'"),
        (("--segment", "1e308"), "at most 86,400, not '1e308'"),
        (("--overlap", "inf"), "at most 43,200, not 'inf'"),
        (("--raw", "s16le:999999999999:1"), "the rate is 1000 to 1000000 Hz"),
        (("--raw", "s16le:16000:99999999999"), "channels are 1 to 1024"),
    ],
)
def test_numbers_that_nobody_means_are_wrong_usage(
    separate: Command, call: Path, options: tuple[str, object], said: str
) -> None:
    result = separate(call, *options)
    assert result.status == 2
    assert said in result.errors[-1]
