"""Scores by groups of a manifest's rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.data.manifest import Mixture, Source, dump_manifest, read_manifest
from septool.data.mixing import render_mixture
from septool.data.renderers import Rendered
from septool.errors import UsageError
from septool.scoring import breakdown
from septool.scoring.breakdown import parse_groups, summarize_groups
from septool.scoring.items import Item
from septool.tasks.mix import mix_manifest


def row(id: str, genders: str, noise: bool = False) -> Mixture:
    sources = tuple(
        Source(path=f"{n}.wav", gender=None if gender == "?" else gender) for n, gender in enumerate(genders)
    )
    return Mixture(id=id, sample_rate=8000, sources=sources, noise=Source(path="noise.wav") if noise else None)


ROWS = [row("a", "fm"), row("b", "mf", noise=True), row("c", "mm"), row("d", "?m")]
ROWS[0], ROWS[2] = (replace(each, room="hall") for each in (ROWS[0], ROWS[2]))
ITEMS = [Item(each.id, {"sdr": [float(n), float(n)]}) for n, each in enumerate(ROWS)]


def found(group: str) -> dict[str | None, tuple[float, int]]:
    return {s.group: (s.mean, s.count) for s in summarize_groups(ITEMS, ROWS, ["sdr"], [group])}


def test_groups() -> None:
    assert found("sex") == {"sex f+m": (0.5, 4), "sex m+m": (2.0, 2), "sex unknown": (3.0, 2)}
    assert found("noise") == {"noise with": (1.0, 2), "noise without": (pytest.approx(5 / 3), 6)}
    assert found("room") == {"room hall": (1.0, 4), "room unknown": (2.0, 4)}
    assert found("sources") == {"sources 2": (1.5, 8)}


def test_gain_differences_are_those_of_the_voices_and_not_of_the_gains(tmp_path: Path) -> None:
    for name, level in (("loud", 0.2), ("soft", 0.1), ("silent", 0.0)):
        audio.write_audio(tmp_path / f"{name}.wav", np.full(800, level, np.float32), 8000)
    loud = Source(path="loud.wav")
    others = (
        Source(path="soft.wav"),
        Source(path="soft.wav", gain_db=4.5),
        Source(path="silent.wav"),
        Source(path="gone.wav", gain_db=-6.0),
    )
    rows = [
        Mixture(id=each.id, sample_rate=8000, sources=(loud, other), root=tmp_path)
        for each, other in zip(ITEMS, others, strict=True)
    ]
    found = {s.group: s.mean for s in summarize_groups(ITEMS, rows, ["sdr"], ["level-difference"])}
    assert found == {
        "level-difference 5 dB and more": 0.0,
        "level-difference 1 to 2.5 dB": 1.0,
        "level-difference unknown": 2.5,
    }


@pytest.mark.parametrize("gone", ["gone.wav", "a-name-too-long" * 20 + ".wav"])
def test_lengths_and_overlaps_are_those_of_the_sources(tmp_path: Path, gone: str) -> None:
    for name, seconds in (("short", 1.5), ("long", 12.0)):
        audio.write_audio(tmp_path / f"{name}.wav", np.full(round(seconds * 8000), 0.1, np.float32), 8000)
    short, long = Source(path="short.wav"), Source(path="long.wav", frames=88000, speed=1.0)
    rows = [
        Mixture(id="a", sample_rate=16000, sources=(short, long), root=tmp_path),
        Mixture(id="b", sample_rate=16000, sources=(short, long), root=tmp_path, mode="max"),
        Mixture(id="c", sample_rate=16000, sources=(short, long), root=tmp_path, frames=88000),
        Mixture(id="d", sample_rate=16000, sources=(short, Source(path=gone)), root=tmp_path),
    ]
    found = [each.group for each in summarize_groups(ITEMS, rows, ["sdr"], ["length", "overlap"])]
    assert found == [
        *("length 0 to 2 s", "length unknown", "length 5 to 10 s", "length 10 to 20 s"),
        *("overlap 0 to 25 %", "overlap unknown", "overlap 25 to 50 %", "overlap 75 % and more"),
    ]


def test_overlaps_are_the_same_on_the_fly_and_written(tmp_path: Path) -> None:
    for name, seconds in (("short", 2.0), ("long", 10.0)):
        audio.write_audio(tmp_path / f"{name}.wav", np.full(round(seconds * 8000), 0.1, np.float32), 8000)
    row = Mixture(id="a", sample_rate=8000, sources=(Source(path="long.wav"), Source(path="short.wav")))
    rows = [
        replace(row, id="a", mode="max", frames=16000),  # cut to what both speak in
        replace(row, id="b", mode="min", frames=80000),  # padded
        replace(row, id="c", mode="max"),
    ]
    (tmp_path / "rows.jsonl").write_text(dump_manifest(rows))
    mix_manifest(tmp_path / "rows.jsonl", out=tmp_path / "out")
    for path in (tmp_path / "rows.jsonl", tmp_path / "out" / "mixtures.jsonl"):
        found = summarize_groups(ITEMS[:3], read_manifest(path), ["sdr"], ["overlap"])
        assert {each.group: each.mean for each in found} == {
            "overlap 0 to 25 %": 1.5,
            "overlap 75 % and more": 0.0,
        }


def test_a_row_is_rendered_once_for_all_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio.write_audio(tmp_path / "0.wav", np.full(800, 0.1, np.float32), 8000)
    single = Mixture(id="a", sample_rate=8000, sources=(Source(path="0.wav"), Source(path="0.wav")), root=tmp_path)
    rendered: list[str] = []

    def render(row: Mixture) -> Rendered:
        rendered.append(row.id)
        return render_mixture(row)

    monkeypatch.setattr(breakdown, "render_mixture", render)
    summarize_groups(ITEMS[:1], [single], ["sdr"], ["level-difference", "overlap"])
    assert rendered == ["a"]


def test_names() -> None:
    assert parse_groups("sex, noise,sex") == ["sex", "noise"]
    with pytest.raises(UsageError, match="unknown group 'sexes'; did you mean 'sex'"):
        parse_groups("sexes")
    with pytest.raises(UsageError, match="--by names no group"):
        parse_groups(",")
