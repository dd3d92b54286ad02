"""The report of an evaluation: one file that holds everything, the worst items first, names that are only text."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from septool.reports import spectrograms
from septool.scoring.items import Item, ScoringInput, score_item
from septool.scoring.report import WORST, worst_items, write_evaluation_report
from septool.scoring.summary import summarize_items
from tests.conftest import RATE, voice

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

METRICS = ["si-snri", "si-snr"]


def signals(id: str, noise: float) -> ScoringInput:
    references = np.stack([voice(110, seconds=0.5), voice(200, seconds=0.5)])
    found = references + noise * np.random.default_rng(0).standard_normal(references.shape)
    return ScoringInput(id, [*references], [*found], references.sum(0))


def test_everything_is_inside_and_can_be_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrograms, "COLUMNS", 20)
    known = {"<b>good</b>": signals("<b>good</b>", 0.001), "bad": signals("bad", 0.1)}
    items = [score_item(METRICS, RATE, each) for each in known.values()] + [Item("gone", error="<i>lost</i>")]
    summaries = summarize_items(items, METRICS)
    summaries = [replace(summary, sample_rate=RATE) for summary in summaries]
    asked: list[list[str]] = []

    def load(ids):
        asked.append(list(ids))
        return [known[id] for id in ids]

    html = tmp_path / "new" / "report.html"
    write_evaluation_report(html, "a < b", items, summaries, facts={"si-snr": "as defined"}, load=load)
    text = html.read_text()
    assert asked == [["bad", "<b>good</b>"]]
    assert "<b>good" not in text
    assert "<i>lost" not in text
    assert "a &lt; b" in text
    assert "as defined" in text
    assert text.index("Worst 1: bad") < text.index("Worst 2: &lt;b&gt;good")
    sources = re.findall(r'src="(.*?)"', text)
    assert all(source.startswith("data:") for source in sources)
    assert len(re.findall("<audio", text)) == 2 * 5
    sounds = [source for source in sources if source.startswith("data:audio")]
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0].split(",")[1])))
    assert (rate, len(heard)) == (RATE, RATE // 2)
    # One gain for all tracks, so that their levels are those of the item.
    mixture = known["bad"].mixture
    assert mixture is not None
    assert np.corrcoef(heard, mixture)[0, 1] > 0.999
    assert np.abs(heard).max() <= 0.9 + 1e-3


def test_groups_are_a_table_of_their_own(tmp_path: Path) -> None:
    items = [Item(str(n), {"si-snri": [float(n), n + 1.0], "pesq": [None, None]}) for n in range(4)]
    every = summarize_items(items, ["si-snri", "pesq"])
    grouped = [
        replace(each, group=f"room {name}")
        for name, members in (("<hall>", items[:2]), ("attic", items[2:]))
        for each in summarize_items(members, ["si-snri", "pesq"])
    ]
    html = tmp_path / "r.html"
    write_evaluation_report(html, "t", items, [*every, *grouped], facts={}, load=lambda _: [])
    lines = [re.findall("(?s)<t[hd].*?>(.*?)</", line) for line in re.findall("(?s)<tr>(.*?)</tr>", html.read_text())]
    assert [line[0] for line in lines[:3]] == ["metric", "si-snri, dB", "pesq, MOS"]
    low, high = grouped[2].low, grouped[2].high
    assert lines[3:6] == [
        ["group", "voices", "si-snri, dB", "pesq, MOS"],
        ["room &lt;hall&gt;", "4", f"1.00\n{grouped[0].low:.2f} to {grouped[0].high:.2f}", "-"],
        ["room attic", "4", f"3.00\n{low:.2f} to {high:.2f}", "-"],
    ]


@pytest.mark.parametrize(("metric", "first"), [("sdr", "0"), ("lsd", "19")])
def test_the_worst_are_the_lowest_or_where_less_is_better_the_highest(metric: str, first: str) -> None:
    items = [Item(str(n), {metric: [float(n), None]}) for n in range(20)] + [Item("x", {metric: [None]})]
    worst = worst_items(items, metric)
    assert len(worst) == WORST
    assert worst[0].id == first


def test_without_any_score_there_is_still_a_report(tmp_path: Path) -> None:
    items = [Item("a", error="lost")]
    write_evaluation_report(
        tmp_path / "r.html", "t", items, summarize_items(items, METRICS), facts={}, load=lambda _: []
    )
    assert "a: lost" in (tmp_path / "r.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desk"])
def test_a_browser_shows_all_of_it(tmp_path: Path, browser: Any, width: int) -> None:
    known = signals("one", 0.05)
    items = [score_item(METRICS, RATE, known)]
    summaries = [replace(summary, sample_rate=RATE) for summary in summarize_items(items, METRICS)]
    summaries += [replace(summary, group="length 0 to 2 s") for summary in summaries]
    html = tmp_path / "r.html"
    facts = {"manifest_sha256": "0123456789abcdef" * 4}
    write_evaluation_report(html, "dev-2mix.jsonl", items, summaries, facts=facts, load=lambda _: [known])
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    page.goto(html.as_uri())
    page.wait_for_function("[...document.querySelectorAll('audio')].every((sound) => sound.readyState > 0)")
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    lengths = page.evaluate("[...document.querySelectorAll('audio')].map((sound) => sound.duration)")
    assert lengths == pytest.approx([0.5] * 5, abs=0.01)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
    assert complaints == []
