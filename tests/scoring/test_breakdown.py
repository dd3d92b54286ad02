"""Scores by groups of a manifest's rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.data.manifest import Mixture, Source
from septool.errors import UsageError
from septool.scoring.breakdown import parse_groups, summarize_groups
from septool.scoring.items import Item


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
        Mixture(id="c", sample_rate=16000, sources=(short, long), root=tmp_path, frames=96000),
        Mixture(id="d", sample_rate=16000, sources=(short, Source(path=gone)), root=tmp_path),
    ]
    found = [each.group for each in summarize_groups(ITEMS, rows, ["sdr"], ["length", "overlap"])]
    assert found == [
        *("length 0 to 2 s", "length unknown", "length 5 to 10 s", "length 10 to 20 s"),
        *("overlap 0 to 25 %", "overlap unknown", "overlap 75 % and more"),
    ]


def test_names() -> None:
    assert parse_groups("sex, noise,sex") == ["sex", "noise"]
    with pytest.raises(UsageError, match="unknown group 'sexes'; did you mean 'sex'"):
        parse_groups("sexes")
    with pytest.raises(UsageError, match="--by names no group"):
        parse_groups(",")
