"""Lanes of conversations in the HTML report: one time axis, bounded size, and what a browser makes of them."""

import html as escapes
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.batch import html_report
from septool.batch.html_report import Entry, Track
from septool.batch.lanes import FINEST, MOST_MARKS, TimeAxis
from septool.reports.spectrograms import COLUMNS

RATE = 8000


@pytest.mark.parametrize(
    ("seconds", "texts"),
    [
        (0.4, ["0:00"]),
        (9, ["0:00", "0:01", "0:02", "0:03", "0:04", "0:05", "0:06", "0:07", "0:08", "0:09"]),
        (150, ["0:00", "0:15", "0:30", "0:45", "1:00", "1:15", "1:30", "1:45", "2:00", "2:15", "2:30"]),
        (3700, ["0:00", "10:00", "20:00", "30:00", "40:00", "50:00", "1:00:00"]),
    ],
)
def test_marks_are_round_and_few(seconds: float, texts: list[str]) -> None:
    marks = TimeAxis(seconds).marks()
    assert [mark.text for mark in marks] == texts
    assert len(marks) <= MOST_MARKS
    step = marks[1].percent if len(marks) > 1 else 0
    assert [mark.percent for mark in marks] == pytest.approx([step * number for number in range(len(marks))])


def test_every_span_is_drawn_where_it_is() -> None:
    path = TimeAxis(90.0).path([(45.0, 90.0), (10.0, 20.0), (30.0, 30.001)])
    assert path == "M100 0H200.0V1H100zM300 0H301.0V1H300zM450 0H900.0V1H450z"


def test_spans_closer_than_a_column_are_one() -> None:
    spans = [(second, second + 0.9) for second in range(36000)]
    assert TimeAxis(36000.0).path(spans) == f"M0 0H{FINEST}.0V1H0z"
    sparse = [(40.0 * number, 40.0 * number + 1) for number in range(900)]
    assert len(TimeAxis(36000.0).path(sparse)) < 25 * FINEST


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of twenty minutes in which two people talk, one in the first half and both in the last quarter."""
    folder = tmp_path_factory.mktemp("report")
    hum = 0.1 * np.sin(np.arange(1200 * RATE, dtype=np.float32) * 0.5)
    tracks = []
    for name, spans in {"meeting": None, "ann & co": [(0, 600), (900, 1200)], "bob": [(900.0, 1200.0)]}.items():
        samples = hum.copy()
        if spans is not None:
            for second in range(1200):
                if not any(start <= second < end for start, end in spans):
                    samples[second * RATE : (second + 1) * RATE] = 0
        audio.write_audio(folder / f"{name}.wav", samples, RATE)
        tracks.append(Track(name, folder / f"{name}.wav", spans))
    path = folder / "report.html"
    html_report.write_html_report(path, "Two people", [Entry("meeting.wav", tracks=tracks)])
    return path


def test_a_page_has_a_lane_a_person_and_is_small(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert re.findall(r"<b>(.*?)</b>(.*)", text) == [
        ("meeting", ""),
        ("ann &amp; co", " speaks for 15:00"),
        ("bob", " speaks for 5:00"),
    ]
    assert re.findall(r'class="(activity|overlap)" d="(.*?)"', text) == [
        ("activity", "M0 0H450.0V1H0zM675 0H900.0V1H675z"),
        ("overlap", "M675 0H900.0V1H675z"),
        ("activity", "M0 0H450.0V1H0zM675 0H900.0V1H675z"),
        ("activity", "M675 0H900.0V1H675z"),
    ]
    assert re.findall(r'<audio[^>]* src="([^"]+)"', text) == ["meeting.wav", "ann%20%26%20co.wav", "bob.wav"]


MEASURE = """<script>
const boxes = [...document.querySelectorAll(".seek")].map(each => each.getBoundingClientRect())
const images = [...document.querySelectorAll(".lane img")]
const marks = [...document.querySelectorAll(".marks span")].map(each => each.getBoundingClientRect())
const seeks = document.querySelectorAll(".seek")
const middle = boxes[1].left + boxes[1].width / 2
seeks[1].dispatchEvent(new MouseEvent("click", {clientX: middle}))
document.body.dataset.measured = JSON.stringify({
  lanes: boxes.map(box => [box.left, box.width, box.height]),
  paths: [...document.querySelectorAll("path")].map(each => {
    const box = each.getBoundingClientRect()
    return [box.left, box.width]
  }),
  loaded: images.map(image => image.naturalWidth),
  players: [...document.querySelectorAll("audio")].map(each => each.getBoundingClientRect().width),
  marks: marks.map(mark => mark.left),
  cursors: [...document.querySelectorAll(".seek i")].map(each => each.getBoundingClientRect().left),
  middle, overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
})
</script>"""


def test_a_browser_shows_all_lanes_on_one_time_axis(page: Path, show: Callable[[str], str]) -> None:
    measured = page.with_name("measured.html")
    measured.write_text(page.read_text(encoding="utf-8").replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    (found,) = re.findall(r'data-measured="(.*?)"', show(measured.as_uri()))
    seen = json.loads(escapes.unescape(found))
    (left, width, height), *others = seen["lanes"]
    assert width > 700
    assert height > 50
    assert others == [[left, width, height]] * 2
    assert seen["loaded"] == [COLUMNS] * 3
    assert min(seen["players"]) > 300
    # What happens at a time is below its mark: ann pauses from 10:00, a mark, to 15:00.
    marks = {mark.text: place for mark, place in zip(TimeAxis(1200).marks(), seen["marks"], strict=True)}
    bob_left, bob_width = seen["paths"][3]
    assert bob_left == pytest.approx(left + 0.75 * width, abs=1.5)
    assert bob_left + bob_width == pytest.approx(left + width, abs=1.5)
    assert marks["10:00"] == pytest.approx(left + 0.5 * width, abs=1.5)
    assert seen["cursors"] == pytest.approx([seen["middle"]] * 3, abs=1.5)  # a click moves all of them
    assert seen["overflow"] <= 0
