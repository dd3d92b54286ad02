"""The figure of growth is drawn from what a run has left."""

import json
from pathlib import Path

import pytest

from benchmarks.growth import draw


def test_lengths_and_memory_are_in_the_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    rows = [{"audio s": seconds, "ms for a second": 60.0, "memory MB": 500.0} for seconds in (1.0, 60.0, 3600.0)]
    results = tmp_path / "growth.jsonl"
    results.write_text("".join(f"{json.dumps(row)}\n" for row in [{"kind": "machine"}, *rows]))
    draw(results, tmp_path / "growth.svg")
    drawn = (tmp_path / "growth.svg").read_text()
    for text in ("<!-- 3600 -->", "<!-- 60 -->", "<!-- length of the recording, s -->"):
        assert text in drawn
