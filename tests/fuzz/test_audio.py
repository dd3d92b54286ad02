"""Damaged files: each is read to its end or refused in one line, in bounded time and memory, never short in silence.

A child does the reading, so that a crash of a codec is one file's and its memory can be limited.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.damage import FORMATS, RATE, damaged, encode

MEMORY = 500 * 2**20  # bytes above what the program takes by itself
SECONDS = 20  # for a file of half a second, on a busy machine
SAME = 0.1 * RATE  # samples; below, two decoders differ in what they do with a broken frame

READER = r"""
import json, re, sys
from pathlib import Path
from septool import audio
from septool.errors import SeptoolError

def used(of):  # VmRSS now, VmHWM at most since peaks were cleared
    return int(re.search(of + r":\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

for line in sys.stdin:
    path = Path(json.loads(line))
    Path("/proc/self/clear_refs").write_text("5")  # an earlier file's peak is not this one's
    before, result = used("VmRSS"), {}
    try:
        with audio.open_audio(path) as file:
            frames = 0
            for block in audio.Reader(file, file.rate):
                frames += len(block)
            result = {"frames": frames, "rate": file.rate, "findings": [each.row() for each in file.findings]}
            known = [each.describe("x") for each in file.findings]
        about = audio.audio_info(path)
        whole, _ = audio.read_audio(path)
        result["agree"] = about.frames == frames == whole.shape[1]
        with path.open("rb") as stream, audio.open_audio(stream, name="pipe") as file:
            result["piped"] = file.read().shape[1]
            result["told"] = any(finding.is_partial for finding in file.findings)
    except SeptoolError as error:
        result["error"] = str(error)
    result["memory"] = used("VmHWM") - before
    print(json.dumps(result), flush=True)
"""


@pytest.fixture(scope="module")
def sound() -> dict[tuple[str, str], bytes]:
    return {kind: encode(*kind) for kind in FORMATS}


def decoded_by_ffmpeg(path: Path) -> int | None:
    """Return how many samples ffmpeg finds at ``RATE``; None if it finds none or is not sure what it is."""
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(path),
        "-map",
        "0:a:0",
        "-ac",
        "1",
        "-ar",
        str(RATE),
        "-f",
        "s16le",
        "-",
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return len(done.stdout) // 2 or None


def check(seeds: range, folder: Path, sound: dict[tuple[str, str], bytes]) -> None:
    names: list[str] = []
    for seed in seeds:
        name, data = damaged(seed, sound)
        (folder / name).write_bytes(data)
        names.append(name)
    limit = resource.getrlimit(resource.RLIMIT_CPU)[1]
    reader = subprocess.Popen(
        [sys.executable, "-c", READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS * len(names), limit)),
    )
    said, errors = reader.communicate("".join(json.dumps(str(folder / name)) + "\n" for name in names), timeout=1800)
    results = [json.loads(line) for line in said.splitlines()]
    assert len(results) == len(names), f"{names[len(results)]} ended the process: {errors[-500:]}"
    assert errors == "", errors
    wrong: list[str] = []
    for name, result in zip(names, results, strict=True):
        if result["memory"] > MEMORY:
            wrong.append(f"{name} took {result['memory'] >> 20} MB")
        if "error" in result:
            if "\n" in result["error"] or not result["error"].startswith((str(folder), "pipe")):
                wrong.append(f"{name} is refused in other words: {result['error']}")
            if not result["error"].startswith("pipe"):
                continue
        told = any(finding["kind"] != "unknown-length" for finding in result["findings"])
        if told:
            continue
        if "agree" in result and not result["agree"]:
            wrong.append(f"{name} is as long as it is read")
        if result.get("piped", result["frames"]) != result["frames"] and not result["told"]:
            wrong.append(f"{name} has {result['frames']} samples, and {result['piped']} from a pipe")
        if shutil.which("ffmpeg") and result["rate"] == RATE:
            expected = decoded_by_ffmpeg(folder / name)
            if expected is not None and expected - result["frames"] > SAME:
                wrong.append(f"{name} has {result['frames']} samples; ffmpeg finds {expected}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("part", range(2))
def test_damaged_files_are_read_or_refused(part: int, tmp_path: Path, sound: dict[tuple[str, str], bytes]) -> None:
    check(range(100 * part, 100 * part + 100), tmp_path, sound)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(25))
def test_many_damaged_files(part: int, tmp_path: Path, sound: dict[tuple[str, str], bytes]) -> None:
    check(range(1000 + 200 * part, 1000 + 200 * part + 200), tmp_path, sound)
