"""What is counted of long recordings, and that a run that is stopped leaves what it has measured."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import section
from benchmarks.long_recordings import ABOUT, LAUNCHER, PEAK_UNIT, Run, count_changes, factors, follow, majorities, page
from benchmarks.stand_in import GHOST, TrueVoices, embed
from septool import audio

RATE = 8000


def test_what_is_mixed_up_for_seconds_is_no_lasting_change() -> None:
    straight = [True] * 4 + [False] + [True] * 4 + [False] * 6
    assert count_changes(straight) == 3
    assert majorities(straight) == [True] * 9 + [False] * 6
    assert count_changes(majorities(straight)) == 1
    assert majorities([]) == []


def test_changes_of_sides_are_counted_in_windows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    voices = 0.05 * rng.standard_normal((2, 200 * RATE)).astype(np.float32)
    voices[:, 30 * RATE : 40 * RATE] = 0  # says nothing
    tracks = voices.copy()
    tracks[:, 150 * RATE :] = voices[::-1, 150 * RATE :]
    tracks[:, 60 * RATE : 70 * RATE] = voices[::-1, 60 * RATE : 70 * RATE]
    paths = {kind: [tmp_path / f"{kind}{number}.wav" for number in (0, 1)] for kind in ("track", "voice")}
    for kind, samples in (("track", tracks), ("voice", voices)):
        for path, part in zip(paths[kind], samples, strict=True):
            audio.write_audio(path, part, RATE)
    assert follow(paths["track"], paths["voice"]) == {"windows": 19, "wrong": 6, "changes": 3, "lasting": 1}


def test_a_stand_in_gives_each_window_its_voices_in_some_order(tmp_path: Path) -> None:
    voices = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 5 * RATE)).astype(np.float32)
    for number, voice in enumerate(voices):
        audio.write_audio(tmp_path / f"{number}.wav", voice, RATE, "FLOAT")
    size, step = 2 * RATE, RATE
    mixed = GHOST * voices[::-1] + voices
    with audio.open_audio(tmp_path / "0.wav") as first, audio.open_audio(tmp_path / "1.wav") as second:
        separate = TrueVoices([first, second], step)
        for start in range(0, 4 * RATE, step):
            tracks, expected = separate(np.zeros(size)), mixed[:, start : start + size]
            closest = min((expected, expected[::-1]), key=lambda order: np.abs(tracks - order).max())
            np.testing.assert_allclose(tracks, closest, atol=1e-6)


def test_a_stand_in_knows_a_voice_again_by_its_spectrum() -> None:
    low, high = (np.sin(2 * np.pi * pitch * np.arange(RATE) / RATE) for pitch in (150.0, 1000.0))

    def likeness(*signals: np.ndarray) -> float:
        first, second = map(embed, signals)
        return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))

    assert likeness(low, low[1234:]) > 0.99
    assert likeness(low, high) < 0.1
    assert embed(low[:100]).shape == (128,)


def test_a_page_has_a_line_a_recording_from_the_shortest_on(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    taken = {"seconds": 36.0, "cpu_s": 72.0, "peak_mb": 700.4, "first_output_s": 1.25}
    rows = [{"way": "auto", "model": "galr", "people": 2, "minutes": minutes, **taken} for minutes in (60.0, 10.0)]
    rows[0] |= {"windows": 361, "wrong": 3}
    device = torch.device("cpu")
    section.measure("Long", f"{ABOUT} Idle otherwise.", rows, device=device, threads=torch.get_num_threads(), out=out)
    lines = list(page([out]))
    assert "Idle otherwise." in lines
    assert lines[-2:] == [
        "| 10 | auto | galr | 2 | - | 700 | 0.120 | 0.060 | 1.2 |",
        "| 60 | auto | galr | 2 | 3 of 361 | 700 | 0.020 | 0.010 | 1.2 |",
    ]


def test_the_real_time_factor_is_of_the_clock() -> None:
    took = Run(seconds=30.0, cpu_s=60.0, peak_mb=700.0, first_output_s=1.0)
    assert factors(took, 600.0) == {"real_time_factor": 0.05, "processor_factor": 0.1}


def test_memory_is_that_of_the_command_and_not_of_who_has_started_it() -> None:
    held = np.ones(25_000_000)  # 200 MB
    line = [sys.executable, "-c", LAUNCHER, sys.executable, "-c", "import sys; sys.exit(3)"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    status, _, peak = json.loads(done.stderr.splitlines()[-1])
    assert status >> 8 == 3
    assert peak * PEAK_UNIT < held.nbytes / 2


def test_a_run_that_is_stopped_leaves_its_rows(tmp_path: Path) -> None:
    def rows(*, stopped: bool) -> Iterator[dict[str, Any]]:
        yield {"id": 1}
        if stopped:
            raise KeyboardInterrupt

    out = tmp_path / "rows.jsonl"
    settings: dict[str, Any] = {"device": torch.device("cpu"), "threads": torch.get_num_threads(), "out": out}
    with pytest.raises(KeyboardInterrupt):
        section.measure("Rows", "of a test", rows(stopped=True), **settings)
    assert not out.exists()
    part = out.with_name("rows.jsonl.part")
    kept = [json.loads(line) for line in part.read_text().splitlines()]
    assert [row.get("title", row.get("id")) for row in kept] == ["Rows", 1]
    section.measure("Rows", "of a test", rows(stopped=False), **settings)
    assert len(out.read_text().splitlines()) == 2
    assert not part.exists()
