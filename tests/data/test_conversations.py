"""Conversation manifests: what they refuse, and what is rendered of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.data.conversation_sampling import LEVEL_DB, SPEAKER_DB, STYLES, Utterance, sample_conversation
from septool.data.conversations import (
    dump_conversations,
    read_conversations,
    render_conversation,
)
from septool.errors import ManifestError
from septool.signal.levels import rms_of, to_db
from septool.signal.turns import Turn

RATE = 8000
ROW = {
    "id": "talk",
    "sample_rate": RATE,
    "seconds": 2.0,
    "segments": [
        {"speaker": "ann", "path": "a.wav", "at": 0.5, "frames": 4000},
        {"speaker": "bob", "path": "b.wav", "at": 0.75, "start": 2000, "gain_db": -20.0},
        {"speaker": "ann", "path": "a.wav", "at": 1.5},
    ],
}


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in "ab":
        samples = random.uniform(-0.5, 0.5, RATE).astype(np.float32)
        audio.write_audio(tmp_path / f"{name}.wav", samples, RATE, "FLOAT")
    (tmp_path / "talks.jsonl").write_text(json.dumps(ROW) + "\n")
    return tmp_path / "talks.jsonl"


def test_segments_stand_at_their_places(talk: Path) -> None:
    (row,) = read_conversations(talk)
    mixture, sources, turns = render_conversation(row)
    first, second = (audio.load_audio(talk.parent / f"{name}.wav", RATE) for name in "ab")
    assert row.speakers == ("ann", "bob")
    assert row.recordings() == [talk.parent / f"{name}.wav" for name in "aba"]
    assert sources.shape == (2, 2 * RATE)
    np.testing.assert_array_equal(sources[0, 4000:8000], first[:4000])
    np.testing.assert_array_equal(sources[0, 12000:], first[:4000])  # cut where the conversation ends
    np.testing.assert_allclose(sources[1, 6000:12000], second[2000:] * 0.1, rtol=1e-6)
    assert not sources[0, :4000].any()
    assert not sources[1, :6000].any()
    np.testing.assert_allclose(mixture, sources.sum(0), atol=1e-7)
    assert turns == [Turn(0.5, 1.0, "ann"), Turn(0.75, 1.5, "bob"), Turn(1.5, 2.0, "ann")]


def test_another_rate_changes_lengths_alone(talk: Path) -> None:
    (row,) = read_conversations(talk)
    low = render_conversation(row, 4000)
    assert low.sources.shape == (2, RATE)
    assert low.turns == render_conversation(row).turns


@pytest.mark.parametrize(("scale", "channels"), [(2**15, 1), (2**31, 1), (1, 2)])
def test_what_is_said_is_brought_to_a_level_whatever_the_file_has(tmp_path: Path, scale: float, channels: int) -> None:
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, (channels, 4 * RATE)) * scale
    audio.write_audio(tmp_path / "a.wav", sound.astype(np.float32), RATE, "FLOAT")
    talk = sample_conversation(
        {"ann": [Utterance(tmp_path / "a.wav", RATE, 0, 4 * RATE)]},
        STYLES["0S"],
        id="talk",
        people=1,
        seconds=3.0,
        sample_rate=RATE,
        random=np.random.default_rng(0),
    )
    (segment,) = talk.segments
    start = round(segment.at * RATE)
    voice = render_conversation(talk).mixture[start : start + segment.frames]
    assert to_db(float(rms_of(voice))) == pytest.approx(LEVEL_DB, abs=SPEAKER_DB + 0.01)


def test_a_manifest_comes_back_as_it_was_written(talk: Path, tmp_path: Path) -> None:
    talk.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | {"id": "other", "split": "\udce9"}) + "\n")
    rows = read_conversations(talk)
    (tmp_path / "again.jsonl").write_text(dump_conversations(rows), encoding="utf-8")
    assert read_conversations(tmp_path / "again.jsonl") == rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"segments": []}, "segments is empty"),
        ({"seconds": 1.5}, r"seconds is 1\.5; the last segment starts at 1\.5 s"),
        ({"speakers": ["ann"]}, "speakers are ann; the segments are of ann, bob"),
        ({"speakers": ["ann", "bob", "ann"]}, "speakers are ann, bob, ann; the segments are of ann, bob"),
        ({"segments": [ROW["segments"][0] | {"at": -1.0}]}, r"a\.wav is at -1\.0 s"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"sample_rate": "x"}, "sample_rate"),
    ],
)
def test_what_cannot_be_is_named_with_its_line(talk: Path, change: dict, said: str) -> None:
    talk.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | {"id": "other"} | change) + "\n")
    with pytest.raises(ManifestError, match=rf"talks\.jsonl, line 2: .*{said}"):
        read_conversations(talk)
