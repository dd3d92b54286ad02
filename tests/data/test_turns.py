"""Who speaks when, as RTTM, JSON, labels and captions."""

import json
from pathlib import Path

import pytest

from septool.data.turns import FORMATS, read_rttm, to_audacity, to_json, to_rttm, to_webvtt
from septool.errors import ManifestError
from septool.signal.turns import Turn

TURNS = [Turn(0.5, 2.0, "speaker1"), Turn(1.25, 3.0, "speaker 2"), Turn(3661.5, 3662.0, "speaker1")]


def test_rttm_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text(";; a comment\n" + to_rttm(TURNS, "board meeting"))
    expected = [turn._replace(speaker=turn.speaker.replace(" ", "_")) for turn in TURNS]
    assert read_rttm(tmp_path / "a.rttm") == {"board_meeting": expected}


def test_unusual_line_ends_end_no_line_of_rttm(tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text("SPEAKER a\u2028b 1\n" + to_rttm(TURNS, "call"), encoding="utf-8")
    with pytest.raises(ManifestError, match="line 1"):
        read_rttm(tmp_path / "a.rttm")


def test_a_line_of_rttm_has_ten_fields() -> None:
    first = to_rttm(TURNS, "call").splitlines()[0]
    assert first == "SPEAKER call 1 0.500 1.500 <NA> <NA> speaker1 <NA> <NA>"


@pytest.mark.parametrize(
    "line", ["SPEAKER a 1 x 1 <NA> <NA> ann", "SPEAKER a 1 1", "SPEAKER a 1 -1 1 - - ann", "SPEAKER a 1 inf 1 - - ann"]
)
def test_a_line_that_is_no_turn_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.rttm").write_text(f"{line}\n")
    with pytest.raises(ManifestError, match=r"a\.rttm, line 1: 'SPEAKER .* is no turn"):
        read_rttm(tmp_path / "a.rttm")


def test_json_has_speakers_turns_and_overlaps() -> None:
    content = json.loads(to_json(TURNS, "call"))
    assert content["speakers"] == ["speaker 2", "speaker1"]
    assert content["turns"][0] == {"start": 0.5, "end": 2.0, "speaker": "speaker1"}
    assert content["overlaps"] == [{"start": 1.25, "end": 2.0}]


def test_labels_mark_overlaps() -> None:
    assert to_audacity(TURNS, "call").splitlines()[1:3] == [
        "1.250000\t2.000000\toverlap",
        "1.250000\t3.000000\tspeaker 2",
    ]


def test_captions_have_clocks_with_hours() -> None:
    text = to_webvtt(TURNS, "call")
    assert text.startswith("WEBVTT\n\n00:00:00.500 --> 00:00:02.000\n<v speaker1>speaker1</v>\n")
    assert "01:01:01.500 --> 01:01:02.000" in text


def test_names_in_captions_are_no_markup() -> None:
    assert "\n<v a &amp; &lt;b&gt;>a &amp; &lt;b&gt;</v>\n" in to_webvtt([Turn(0.0, 1.0, "a & <b>")], "call")


@pytest.mark.parametrize("name", FORMATS)
def test_nobody_speaking_can_be_written(name: str) -> None:
    assert isinstance(FORMATS[name][1]([], "call"), str)
