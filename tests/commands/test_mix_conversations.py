"""``septool mix`` of conversations: drawn of utterances, and rendered from a manifest."""

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.data.conversation_sampling import STYLES
from septool.data.conversations import Conversation, read_conversations, render_conversation
from septool.data.turns import read_rttm
from septool.signal.turns import find_overlaps, merge_turns
from tests.conftest import RATE, Command, voice, write


@pytest.fixture
def speech(septool: Command, tmp_path: Path) -> Path:
    """A manifest of four speakers with three utterances each."""
    for number in range(4):
        for take, seconds in enumerate((1.2, 2.0, 3.1)):
            path = tmp_path / "speech" / f"p{number}" / f"{take}.wav"
            write(path, voice(90 + 40 * number, seconds=seconds, seed=10 * number + take))
    result = septool("prepare", "folder", tmp_path / "speech", "-o", tmp_path / "data", "--split", "train=1")
    assert result.status == 0, result.errors
    return tmp_path / "data" / "train-speech.jsonl"


@pytest.mark.parametrize("style", STYLES)
def test_overlap_and_pauses_are_those_of_the_style(septool: Command, speech: Path, tmp_path: Path, style: str) -> None:
    arguments = ("--conversation", style, "--count", 1, "--seconds", 60, "--speakers", 3, "-o", tmp_path / "out")
    result = septool("mix", speech, *arguments)
    assert result.status == 0, result.errors
    (row,) = read_conversations(Path(result.lines[0]))
    assert (len(row.speakers), row.sample_rate, row.seconds >= 60) == (3, RATE, True)
    turns = merge_turns(render_conversation(row).turns)
    ends = sum(turn.end - turn.start for turn in find_overlaps(turns))
    spoken = sum(turn.end - turn.start for turn in turns) - ends
    assert ends / spoken == pytest.approx(STYLES[style].overlap, abs=0.04)
    times = np.arange(0, row.seconds, 0.01)
    speaking = sum((times >= turn.start) & (times < turn.end) for turn in turns)
    assert np.max(speaking) == (2 if STYLES[style].overlap else 1)
    if style == "0L":
        starts = sorted((segment.at, segment.at + segment.frames / RATE) for segment in row.segments)
        pauses = [after - end for (_, end), (after, _) in pairwise(starts)]
        assert min(pauses) >= 2.9 - 0.002
        assert max(pauses) <= 3.0 + 0.002


def test_excerpts_in_which_nobody_speaks_are_not_used(septool: Command, speech: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "speech").glob("p*/0.wav"):
        write(path, np.zeros(audio.audio_info(path).frames))
    arguments = ("--conversation", "0S", "--count", 1, "--seconds", 60, "--speakers", 3)
    result = septool("mix", speech, *arguments, "-o", tmp_path / "out")
    assert result.status == 0, result.errors
    (row,) = read_conversations(Path(result.lines[0]))
    assert {Path(segment.path).name for segment in row.segments} == {"1.wav", "2.wav"}
    for path in (tmp_path / "speech").rglob("*.wav"):
        write(path, np.zeros(audio.audio_info(path).frames))
    silent = septool("mix", speech, *arguments, "-o", tmp_path / "silent")
    assert silent.status == 2
    assert "nearly everything that was drawn of" in silent.errors[-1]


def test_tracks_add_up_and_the_rttm_says_who(septool: Command, speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--conversation", "OV40", "--count", 2, "--seconds", 10, "--speakers", "2-4", "--subtype", "FLOAT")
    result = septool("mix", speech, *arguments, "-o", out, "--json")
    described = json.loads(result.lines[0])
    assert described["files"] == [str(out / f"ov40-000{number}.wav") for number in range(2)]
    for row in read_conversations(out / "conversations.jsonl"):
        tracks = [audio.load_audio(out / f"{row.id}_s{n}.wav", RATE) for n in range(1, len(row.speakers) + 1)]
        np.testing.assert_allclose(np.sum(tracks, axis=0), audio.load_audio(out / f"{row.id}.wav", RATE), atol=1e-6)
        assert {turn.speaker for turn in read_rttm(out / f"{row.id}.rttm")[row.id]} == set(row.speakers)
        assert not Path(row.segments[0].path).is_absolute()


def test_the_same_seed_draws_the_same_and_a_manifest_renders_to_the_same(
    septool: Command, speech: Path, tmp_path: Path
) -> None:
    def draw(name: str, *arguments: object) -> list[bytes]:
        given = ("--conversation", "OV20", "--seconds", 8, "--speakers", "2-3", "-o", tmp_path / name, *arguments)
        assert septool("mix", speech, *given).status == 0
        return [path.read_bytes() for path in sorted((tmp_path / name).glob("*.wav"))]

    first = draw("a", "--count", 2)
    assert draw("b", "--count", 2, "-j", 2) == first
    assert draw("more", "--count", 3)[: len(first)] == first
    assert draw("c", "--count", 2, "--seed", 1) != first
    assert septool("mix", tmp_path / "a/conversations.jsonl", "-o", tmp_path / "again").status == 0
    assert [path.read_bytes() for path in sorted((tmp_path / "again").glob("*.wav"))] == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--conversation", "OV99"], "it can be 0S, 0L, OV10"),
        (["--conversation", "0S", "--speakers", "9"], "but there are 4 speakers"),
        (["--conversation", "0S", "--speakers", "auto"], "say how many people"),
        (["--conversation", "0S", "--snr", "3"], "without --snr"),
        (["--conversation", "0S", "-o", "-"], "name a folder with --out"),
        (["--conversation", "0S", "--seconds", "86400"], "a conversation is at most 86340 s long"),
        (["--conversation", "0S", "--seconds", "inf"], "a conversation is at most 86340 s long"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    septool: Command, speech: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    where = [] if "-o" in arguments else ["-o", str(tmp_path / "out")]
    result = septool("mix", speech, *arguments, *where)
    assert result.status == 2
    assert said in result.errors[-1]


def test_what_is_there_is_not_replaced_unasked(septool: Command, speech: Path, tmp_path: Path) -> None:
    arguments = ("--conversation", "0S", "--count", 1, "--seconds", 5, "-o", tmp_path / "out")
    assert septool("mix", speech, *arguments).status == 0
    other = septool("mix", speech, *arguments, "--seed", 1)
    assert other.status == 1
    assert "is there of another row, rate or subtype; use --force" in other.errors[-1]
    assert septool("mix", speech, *arguments, "--seed", 1, "--force").status == 0


def test_a_run_that_was_stopped_goes_on(septool: Command, speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--conversation", "0S", "--count", 2, "--seconds", 5, "-o", out)
    assert septool("mix", speech, *arguments).status == 0
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "0s-0001.wav").unlink()  # as if it had been stopped before this
    (out / "0s-0001_s1.wav").unlink()
    (out / "conversations.jsonl").unlink()
    done = (out / "0s-0000.wav").stat()
    assert septool("mix", speech, *arguments).status == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole
    assert (out / "0s-0000.wav").stat() == done  # which was not written again


def test_a_conversation_that_cannot_be_rendered_again_is_kept(septool: Command, speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert septool("mix", speech, "--conversation", "0S", "--count", 1, "--seconds", 5, "-o", out).status == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "rendered.json"}
    rows = tmp_path / "rows" / "rows.jsonl"
    rows.parent.mkdir()
    rows.write_bytes((out / "conversations.jsonl").read_bytes())
    for path in (tmp_path / "speech").rglob("*.wav"):
        path.unlink()
    result = septool("mix", rows, "-o", out, "--force")
    assert result.status == 1
    assert "none of the 1 conversations of" in result.errors[-1]
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != "rendered.json"} == before
    itself = septool("mix", out / "conversations.jsonl", "-o", out, "--force")
    assert itself.status == 2
    assert "conversations.jsonl would be written over while it is read" in itself.errors[-1]


def test_the_manifest_has_the_gains_of_what_was_scaled(septool: Command, speech: Path, tmp_path: Path) -> None:
    quiet = {"path": "speech/p0/1.wav", "speaker": "a", "at": 0.0}
    loud = [quiet | {"gain_db": 20.0}, {"path": "speech/p1/1.wav", "speaker": "b", "at": 0.5, "gain_db": 17.0}]
    rows = [
        {"id": id, "sample_rate": RATE, "seconds": 3.0, "segments": segments}
        for id, segments in (("loud", loud), ("quiet", [quiet]))
    ]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def mix(out: Path, *arguments: object) -> tuple[dict[str, float], dict[str, Conversation]]:
        described = septool("mix", source, "-o", out, "--json", *arguments)
        assert described.status == 0
        listed = read_conversations(out / "conversations.jsonl")
        for row in listed:
            files = [audio.load_audio(path, RATE) for path in (out / f"{row.id}.wav", out / f"{row.id}_s1.wav")]
            rendered = render_conversation(row)
            np.testing.assert_allclose(np.stack(files), [rendered.mixture, rendered.sources[0]], atol=1 / 2**15)
        return json.loads(described.lines[0])["scaled_db"], {row.id: row for row in listed}

    out = tmp_path / "out"
    scaled, made = mix(out)
    assert list(scaled) == ["loud"]
    assert made["loud"].segments[0].gain_db == pytest.approx(20.0 + scaled["loud"], abs=0.006)
    assert made["quiet"].segments[0].gain_db == 0
    assert mix(out) == (scaled, made)  # nothing was to be done
    (out / "conversations.jsonl").unlink()  # as if it had been stopped before
    assert septool("mix", source, "-o", out).errors[-1] == (
        f"septool: 1 rows were scaled to stay below full scale, loud the most, by {scaled['loud']} dB; "
        "--subtype FLOAT keeps levels"
    )
    assert mix(out) == (scaled, made)
    exact, kept = mix(tmp_path / "exact", "--subtype", "FLOAT")
    assert (exact, kept["loud"].segments[0].gain_db) == ({}, 20.0)
    assert np.abs(audio.load_audio(tmp_path / "exact/loud.wav", RATE)).max() > 1


def test_settings_of_drawing_are_for_drawing(septool: Command, speech: Path, tmp_path: Path) -> None:
    result = septool("mix", speech, "--seed", 3, "--count", 5, "-o", tmp_path / "out")
    assert result.status == 2
    assert "--count, --seed is for conversations that are drawn" in result.errors[-1]


@pytest.mark.parametrize(
    ("ids", "there", "status", "said"),
    [
        (["ann"], [], 2, "ann.wav would be written over while it is read"),  # a recording that it is made of
        (["a/1", "a_1"], [], 1, "two rows of .* would be written to a_1.wav"),
        (["talk", "talk_s1"], [], 1, "two rows of .* would be written to talk_s1.wav"),
        (["talk"], ["talk_s1.wav"], 1, "talk_s1.wav is there of another row, rate or subtype; use --force"),
        (["talk"], ["talk.rttm"], 1, "talk.rttm is there of another row"),
    ],
)
def test_nobodys_files_are_lost(
    septool: Command, tmp_path: Path, ids: list[str], there: list[str], status: int, said: str
) -> None:
    write(tmp_path / "ann.wav", voice(110, seconds=1))
    for name in there:
        (tmp_path / name).write_text("somebody's")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    segments = [{"speaker": "ann", "path": "../ann.wav", "at": 0.0}]
    rows = [{"id": id, "sample_rate": RATE, "seconds": 2.0, "segments": segments} for id in ids]
    manifest = tmp_path / "rows" / "rows.jsonl"
    manifest.parent.mkdir()
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = septool("mix", manifest, "-o", tmp_path)
    assert result.status == status
    assert re.search(said, result.errors[-1])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
