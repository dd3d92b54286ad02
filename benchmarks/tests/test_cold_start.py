"""The table of cold starts: what its parts are made of, and one real process."""

import json
from pathlib import Path

import pytest

from benchmarks.cold_start import PARTS, Run, Taken, median_parts, runs, split_parts, table, time_process
from septool import audio
from septool.config import shipped


def test_what_a_process_does_not_tell_of_is_its_end() -> None:
    report = {"taken": {name: [2.0, 0.5] for name in PARTS if name != "end"}, "ended": 110.0}
    parts = split_parts(Taken(12.5, 4.0), f"a line\n{json.dumps(report)}\n", 112.0)
    assert parts["work"] == Taken(2.0, 0.5)
    assert parts["end"] == Taken(2.0, 4.0 - 5 * 0.5)
    assert parts["all"] == Taken(12.5, 4.0)
    assert split_parts(Taken(1.0, 0.9), "", 3.0) == {"all": Taken(1.0, 0.9)}


def test_a_table_has_medians_of_the_clock_and_of_the_processor() -> None:
    found = median_parts([{"all": Taken(wall, cpu)} for wall, cpu in ((1.0, 0.3), (9.0, 0.1), (2.0, 0.2))])
    assert found == {"all": Taken(2.0, 0.2)}
    *_, line = table({"torch, 1 s": found | {"work": Taken(0.126, 0.25)}})
    assert line == "| torch, 1 s |  |  |  | 0.13 / 0.25 |  |  | 2.00 / 0.20 |"


def test_engines_and_lengths_stand_beside_plain_python() -> None:
    assert [run.name for run in runs(["torch", "onnx"], [1, 8])][1:] == [
        '`python -c "import torch"`',
        "torch, 1 s",
        "torch, 8 s",
        "onnx, 1 s",
        "onnx, 8 s",
    ]


def test_a_process_tells_of_its_parts(tmp_path: Path) -> None:
    samples, rate = audio.read_audio(shipped("examples/two-talkers.flac"))
    audio.write_audio(tmp_path / "a.wav", samples[:, : rate // 2], rate, "PCM_16")
    parts = time_process(Run("torch", 0.5, "torch"), tmp_path / "a.wav", tmp_path)
    assert set(parts) == {*PARTS, "all"}
    assert all(parts[name].wall > 0 for name in PARTS)
    assert sum(parts[name].wall for name in PARTS) == pytest.approx(parts["all"].wall)
    assert (tmp_path / "a_s2.wav").exists()
