"""``septool separate --speakers`` and ``septool activity``: files, JSON, pipes, refusals."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from septool import audio, catalogue, checkpoints
from septool.atomic import is_pending
from septool.batch.outcomes import Failed
from septool.conversation import batch, networks
from septool.conversation.diarization import Diarization
from septool.conversation.recording import ConversationEstimate
from septool.conversation.separation import ConversationSeparator
from septool.data.turns import read_rttm
from septool.errors import SeptoolError
from septool.inference.streaming import FileEstimate
from septool.inference.voiceprints import Voiceprint, VoiceprintSet, network_digest, write_voiceprints
from septool.models import SPEAKER_MODEL
from septool.models.base import SpeakerEncoder
from septool.models.build import build_model
from septool.tasks.separate import separate
from tests.conftest import Command
from tests.conversation.test_separation import PITCHES, SCRIPT, SECONDS, Oracle, buzz, embed, embedder
from tests.models.tiny import SPEAKER

RATE = 8000


@pytest.fixture
def sources() -> dict[str, np.ndarray]:
    tracks = {name: np.zeros(round(SECONDS * RATE), dtype=np.float32) for name in PITCHES}
    for name, start, end in SCRIPT:
        first, last = round(start * RATE), round(end * RATE)
        tracks[name][first:last] = buzz(name, last - first)
    return tracks


@pytest.fixture
def meeting(sources: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording of three people, and networks that know them."""

    def start(_: object, count: Any, known: Any = ()) -> ConversationSeparator:
        oracle = Oracle(sources)
        conversation = ConversationSeparator(oracle, embedder(), RATE, count, known)
        oracle.step = conversation.store.step
        return conversation

    monkeypatch.setattr(networks.ConversationNetworks, "start", start)
    audio.write_audio(tmp_path / "meeting.wav", np.sum([*sources.values()], axis=0), RATE, "FLOAT")
    return tmp_path / "meeting.wav"


@pytest.fixture
def people(meeting: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who is found in any recording without listening to it; a track is a few bytes."""
    names = ["speaker1", "speaker2"]

    def write(source: Path, format_targets: Any, *_: object, rest: Path | None, **_1: object) -> ConversationEstimate:
        targets = tuple(format_targets(names)) if names else ()
        for path in (*targets, *([] if rest is None else [rest])):
            path.write_bytes(b"track of " + source.name.encode())
        file = FileEstimate(audio.AudioInfo(RATE, RATE, 1, "PCM_16", RATE), 0, ())
        found = Diarization([], tuple(names), (1.0,) * len(names), np.zeros((len(names), 4)))
        return ConversationEstimate(file, found, targets)

    monkeypatch.setattr(batch, "separate_conversation", write)
    return names


def test_a_track_a_person_and_who_speaks_when(septool: Command, meeting: Path, tmp_path: Path) -> None:
    rest = tmp_path / "rest.wav"
    result = septool(
        "separate", meeting, "--speakers", "auto", "--activity", "rttm", "--rest", rest, "-o", tmp_path / "out"
    )
    assert result.status == 0, result.errors
    names = [f"meeting_s{number}.wav" for number in (1, 2, 3)]
    written = sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("."))
    assert written == ["meeting.rttm", *names]
    assert [line.split()[0] for line in result.lines] == [str(tmp_path / "out" / name) for name in names]
    turns = read_rttm(tmp_path / "out" / "meeting.rttm")["meeting"]
    assert {turn.speaker for turn in turns} == {"speaker1", "speaker2", "speaker3"}
    tracks = [audio.load_audio(tmp_path / "out" / name, RATE) for name in names]
    together = np.stack([*tracks, audio.load_audio(rest, RATE)])
    np.testing.assert_allclose(together.sum(0), audio.load_audio(meeting, RATE), atol=1e-5)
    assert any("3 people" in line for line in result.errors)


def test_whoever_asked_may_give_up_while_tracks_are_written(
    meeting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def voices(self: ConversationSeparator) -> Iterator[np.ndarray]:
        begun.append(self)
        yield from written(self)

    def follow(*_: object) -> None:
        if begun:
            raise SeptoolError("not wanted any more")

    begun: list[ConversationSeparator] = []
    written = ConversationSeparator.voices
    monkeypatch.setattr(ConversationSeparator, "voices", voices)
    (result,) = separate([meeting], speakers="auto", out=str(tmp_path / "out"), device="cpu", progress=follow)
    assert isinstance(result, Failed)
    assert "not wanted any more" in result.error


def test_tracks_take_their_places_together(
    septool: Command, meeting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(partial: Path, path: Path) -> None:
        pending.append(is_pending(path))  # so that whoever comes after a kill ends what was begun
        replace(partial, path)

    pending: list[bool] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", watch)
    assert septool("separate", meeting, "--speakers", "2", "-o", tmp_path / "out").status == 0
    assert pending == [True, True]


def test_people_are_called_by_the_voices_that_are_known(septool: Command, meeting: Path, tmp_path: Path) -> None:
    speaker, _ = checkpoints.load(catalogue.resolve_checkpoint(SPEAKER_MODEL)[1], SpeakerEncoder)
    voices = [Voiceprint(name, embed(buzz(name, RATE)).astype(np.float32), 1.0) for name in ("cat", "ann")]
    voices.append(Voiceprint("dan", -voices[0].embedding, 1.0))  # who is not there
    who = tmp_path / "team.safetensors"
    write_voiceprints(who, VoiceprintSet(SPEAKER_MODEL, network_digest(speaker.embedding), RATE, voices))
    arguments = ("--speakers", "auto", "--who", who, "--activity", "rttm", "-o", tmp_path / "out")
    result = septool("separate", meeting, *arguments)
    assert result.status == 0, result.errors
    names = ["ann", "speaker2", "cat"]  # by their first words
    assert [Path(line.split()[0]).name for line in result.lines] == [f"meeting_{name}.wav" for name in names]
    assert {turn.speaker for turn in read_rttm(tmp_path / "out/meeting.rttm")["meeting"]} == set(names)
    alone = septool("activity", meeting, "--who", f"{who}#cat", "-o", "-")
    assert {line.split()[7] for line in alone.lines} == {"speaker1", "speaker2", "cat"}


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """Voiceprints of two of the three."""
    speaker, _ = checkpoints.load(catalogue.resolve_checkpoint(SPEAKER_MODEL)[1], SpeakerEncoder)
    voices = [Voiceprint(name, embed(buzz(name, RATE)).astype(np.float32), 1.0) for name in ("cat", "ann")]
    path = tmp_path / "team.safetensors"
    write_voiceprints(path, VoiceprintSet(SPEAKER_MODEL, network_digest(speaker.embedding), RATE, voices))
    return path


def test_tracks_that_are_named_by_people_are_found_again(
    septool: Command, meeting: Path, team: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = ("separate", meeting, "--speakers", "auto", "-o", out, "--skip-existing")
    assert septool(*line, "--who", team).status == 0
    written = {path: path.stat().st_mtime_ns for path in out.glob("*.wav")}
    assert {path.name for path in written} == {"meeting_ann.wav", "meeting_speaker2.wav", "meeting_cat.wav"}
    again = septool(*line, "--who", team)
    assert (again.status, again.errors[-1]) == (0, f"septool: {meeting}: there already")
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.wav")} == written
    (out / "meeting_cat.wav").unlink()
    part = septool(*line, "--who", team)
    assert part.status == 1
    assert "meeting_ann.wav exists; the other voices do not; remove it or use --force" in part.errors[-1]
    assert septool(*line).status == 0  # other names, of voices that nobody was asked for
    assert (out / "meeting_s1.wav").exists()


def test_the_record_knows_whose_voices_were_asked_for(
    septool: Command, meeting: Path, team: Path, tmp_path: Path
) -> None:
    record = tmp_path / "results.jsonl"
    line = ("separate", meeting, "--speakers", "auto", "-o", tmp_path / "out", "--manifest", record, "--skip-existing")
    assert septool(*line, "--who", team).status == 0
    (row,) = map(json.loads, record.read_text().splitlines())
    assert set(row["settings"]["who"]) == {"cat", "ann"}
    assert septool(*line, "--who", team).errors[-1] == f"septool: {meeting}: there already"
    other = septool(*line, "--who", f"{team}#cat")
    assert other.status == 1
    assert "meeting_ann.wav exists, but it was made with who " in other.errors[-1]
    assert septool(*line, "--who", f"{team}#cat", "--force").status == 0
    assert septool(*line, "--who", f"{team}#cat").errors[-1] == f"septool: {meeting}: there already"
    assert "exists, but it was made with who" in septool(*line, "--who", team).errors[-1]
    assert "exists, but it was made with passes 2" in septool(*line, "--who", f"{team}#cat", "--passes", 1).errors[-1]


def test_voices_in_folders_of_their_own_are_found_again(
    septool: Command, meeting: Path, team: Path, tmp_path: Path
) -> None:
    line = ("separate", meeting, "--speakers", "auto", "--who", team, "-o", tmp_path / "out", "--skip-existing")
    line += ("--name", "{voice}/{stem}")
    assert septool(*line).status == 0
    assert (tmp_path / "out" / "cat" / "meeting.wav").exists()
    assert septool(*line).errors[-1] == f"septool: {meeting}: there already"


def test_a_number_is_kept_and_json_says_who(septool: Command, meeting: Path, tmp_path: Path) -> None:
    result = septool("separate", meeting, "--speakers", "2", "-o", tmp_path / "out", "--json")
    row = json.loads(result.lines[0])
    assert row["speakers"] == ["speaker1", "speaker2"]
    assert len(row["outputs"]) == len(row["spoken"]) == 2
    assert set(row["turns"][0]) == {"start", "end", "speaker"}


@pytest.mark.parametrize("verb", [["separate"], ["activity"]])
def test_fewer_people_than_were_asked_for_are_told_of(
    septool: Command, meeting: Path, tmp_path: Path, verb: list[str]
) -> None:
    result = septool(*verb, meeting, "--speakers", "90", "-o", tmp_path / "out", "--json")
    row = json.loads(result.lines[0])
    (said,) = [each["text"] for each in row["findings"] if each["kind"] == "fewer"]
    assert re.fullmatch(rf"{meeting}: \d+ of 90 speakers could be told apart; the others .*", said)
    assert f"septool: {said}" in result.errors
    two = septool(*verb, meeting, "--speakers", "2", "-o", tmp_path / "two", "--json")
    assert "could be told apart" not in "\n".join(two.errors)


def test_nothing_is_replaced_without_force(septool: Command, meeting: Path, tmp_path: Path) -> None:
    (tmp_path / "meeting_s3.wav").write_text("mine")
    result = septool("separate", meeting, "--speakers", "auto", "-o", tmp_path)
    assert result.status == 1
    assert "meeting_s3.wav exists; use --force to replace it" in result.errors[-1]
    assert not (tmp_path / "meeting_s1.wav").exists()
    assert septool("separate", meeting, "--speakers", "auto", "-o", tmp_path, "--force").status == 0
    again = septool("separate", meeting, "--speakers", "auto", "-o", tmp_path, "--skip-existing")
    assert again.status == 0


@pytest.mark.usefixtures("people")
def test_what_a_plain_separation_has_left_is_not_taken_for_done(septool: Command, meeting: Path) -> None:
    first = meeting.with_name("meeting_s1.wav")
    first.write_bytes(b"of two tracks")
    line = ("separate", meeting, "--speakers", "2", "-o", meeting.parent)
    result = septool(*line, "--skip-existing")
    assert (result.status, first.read_bytes()) == (1, b"of two tracks")
    assert f"{first} exists; no earlier run of this has written it; remove it or use --force" in result.errors[-1]
    assert septool(*line, "--force").status == 0
    assert septool(*line, "--skip-existing").errors == [f"septool: {meeting}: there already"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_may_be_a_conversations(septool: Command, meeting: Path, tmp_path: Path) -> None:
    odd = meeting.rename(meeting.with_name(os.fsdecode(b"caf\xe9.wav")))
    for line in (["activity", odd], ["separate", odd, "--speakers", "auto", "--activity", "rttm"]):
        result = septool(*line, "-o", tmp_path / line[0])
        assert result.status == 0, result.errors
        assert "caf?" in (tmp_path / line[0] / odd.with_suffix(".rttm").name).read_text()


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("asked", [(), ("--rest",)])
def test_no_track_replaces_another_recording_or_the_rest(
    septool: Command, meeting: Path, asked: tuple[str, ...]
) -> None:
    second = meeting.with_name("meeting_s2.wav")
    second.write_bytes(b"mine")
    result = septool("separate", meeting, *asked, second, "--speakers", "2", "-o", meeting.parent, "--force")
    said = f"septool: {second} would be replaced by a voice of {meeting}; use --name or --out"
    assert (result.status, second.read_bytes()) == (1, b"mine")
    assert said in result.errors
    assert not meeting.with_name("meeting_s1.wav").exists()


@pytest.mark.parametrize(
    "verb", [["activity"], ["separate", "--speakers", "3", "--activity", "rttm", "--name", "{stem}_{suffix}_s{voice}"]]
)
def test_recordings_of_one_stem_have_an_activity_each(
    septool: Command, meeting: Path, tmp_path: Path, verb: list[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.wav", "a.aiff", "b.wav"):
        shutil.copy(meeting, folder / name)
    assert septool(*verb, folder, "-o", out).status == 0
    found = {path.name: read_rttm(path) for path in out.glob("*.rttm")}
    assert {name: [*turns] for name, turns in found.items()} == {
        f"{stem}.rttm": [stem] for stem in ("a_wav", "a_aiff", "b")
    }
    again = septool(*verb, folder, "-o", out, "--skip-existing")
    assert sum(line.endswith(": there already") for line in again.errors) == 3
    if verb == ["activity"]:
        names = {line.split()[1] for line in septool(*verb, folder, "-o", "-").lines}
        assert names == {"a_wav", "a_aiff", "b"}


@pytest.mark.parametrize(
    "verb", [["activity"], ["separate", "--speakers", "2", "--activity", "rttm", "--name", "{stem}.{suffix}_s{voice}"]]
)
def test_two_recordings_do_not_share_one_activity(
    septool: Command, meeting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    monkeypatch.setattr(ConversationSeparator, "listen", lambda *_: pytest.fail("the work was begun"))
    away = tmp_path / "away" / "meeting.wav"
    result = septool(*verb, meeting, away, "-o", tmp_path / "out")
    assert result.status == 2
    said = f"and {away} would both be written to {tmp_path}/out/meeting.rttm"
    assert f"{said}; name the folder that both are in, or give each an --out" in result.errors[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("asked", "name"), [(("--activity", "rttm"), "out/meeting.rttm"), (("--rest", "r.wav"), "r.wav")]
)
def test_a_file_beside_the_tracks_is_missed(
    septool: Command, meeting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ("separate", meeting, "--speakers", "auto", "-o", "out", "--skip-existing")
    assert septool(*line).status == 0
    part = septool(*line, *asked)
    assert part.status == 1
    assert f"out/meeting_s1.wav exists; {name} does not; use --force to write both" in part.errors[-1]
    assert septool(*line, *asked, "--force").status == 0
    assert Path(name).exists()
    assert septool(*line, *asked).errors[-1] == f"septool: {meeting}: there already"


def test_nobody_goes_to_standard_output(septool: Command, meeting: Path, people: list[str], tmp_path: Path) -> None:
    people.clear()
    result = septool("separate", meeting, "--speakers", "auto", "-o", "-")
    said = f"septool: {meeting}: nobody speaks in it; there is nothing to write to standard output"
    assert (result.status, result.errors[-1]) == (1, said)
    result = septool("separate", meeting, "--speakers", "auto", "-o", tmp_path / "out")
    assert (result.status, result.lines) == (0, [])
    assert f"septool: {meeting}: nobody speaks in it, so no track was written" in result.errors


@pytest.mark.parametrize("edited", [None, b"mine now", "as long as before"])
def test_tracks_of_people_who_are_not_found_again_go_unless_they_were_changed(
    septool: Command, meeting: Path, people: list[str], tmp_path: Path, edited: bytes | str | None
) -> None:
    line = ("separate", meeting, "--speakers", "auto", "-o", tmp_path / "out", "--force")
    assert septool(*line).status == 0
    second = tmp_path / "out" / "meeting_s2.wav"
    assert second.exists()
    if edited is not None:
        second.write_bytes(edited if isinstance(edited, bytes) else second.read_bytes()[:-2] + b"me")
    people.pop()
    assert septool(*line).status == 0
    assert second.exists() == (edited is not None)
    assert second.with_name("meeting_s1.wav").exists()


@pytest.mark.parametrize("beside", ["rest.wav", "meeting.rttm"])
def test_files_beside_the_voices_are_not_replaced_unasked(
    septool: Command, meeting: Path, tmp_path: Path, beside: str
) -> None:
    (tmp_path / beside).write_text("mine")
    asked = ("--speakers", "auto", "--activity", "rttm", "--rest", tmp_path / "rest.wav", "-o", tmp_path)
    result = septool("separate", meeting, *asked)
    assert result.status == 1
    assert f"{beside} exists; use --force to replace it" in result.errors[-1]
    assert (tmp_path / beside).read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [["separate", "--speakers", "auto", "--rest", "mine/rest.wav", "-o", "out"], ["activity", "-o", "mine"]],
)
def test_a_folder_that_cannot_be_is_told_before_the_work(
    septool: Command, meeting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").touch()
    monkeypatch.setattr(ConversationSeparator, "listen", lambda *_: pytest.fail("the work was begun"))
    result = septool(*arguments, meeting)
    assert result.status == 1
    assert "mine is a file, not a folder" in result.errors[-1]


def test_a_dot_in_a_name_stays_in_the_name_of_who_speaks_when(septool: Command, meeting: Path, tmp_path: Path) -> None:
    dotted = meeting.rename(meeting.with_name("meeting.monday.wav"))
    septool("separate", dotted, "--speakers", "auto", "--activity", "rttm", "-o", tmp_path / "out")
    septool("activity", dotted, "-o", tmp_path / "alone")
    assert (tmp_path / "out" / "meeting.monday.rttm").exists()
    assert (tmp_path / "alone" / "meeting.monday.rttm").exists()


def test_channels_that_cancel_each_other_are_not_averaged(
    septool: Command, meeting: Path, tmp_path: Path, sources: dict[str, np.ndarray]
) -> None:
    separated = septool("separate", meeting, "--speakers", "auto", "-o", tmp_path / "alone")
    found = septool("activity", meeting, "-o", "-").lines
    mono = sum(sources.values())
    audio.write_audio(meeting, np.stack((mono, -0.95 * mono)), RATE, "FLOAT")
    text = f"septool: {meeting}: its 2 channels cancel each other; channel 1, the loudest, is used"
    again = septool("separate", meeting, "--speakers", "auto", "-o", tmp_path / "sides")
    assert text in again.errors
    for one, other in zip(again.lines, separated.lines, strict=True):
        first, second = (audio.read_audio(Path(line.split()[0]))[0] for line in (one, other))
        np.testing.assert_array_equal(first, second)
    activity = septool("activity", meeting, "-o", "-")
    assert text in activity.errors
    assert activity.lines == found


@pytest.mark.parametrize(
    ("format", "suffix"), [("rttm", "rttm"), ("json", "json"), ("audacity", "txt"), ("webvtt", "vtt")]
)
def test_activity_alone(septool: Command, meeting: Path, tmp_path: Path, format: str, suffix: str) -> None:
    result = septool("activity", meeting, "--format", format, "-o", tmp_path / "out")
    path = tmp_path / "out" / f"meeting.{suffix}"
    assert result.lines == [str(path)]
    printed = septool("activity", meeting, "--format", format, "-o", "-")
    assert "\n".join(printed.lines).rstrip("\n") == path.read_text().rstrip("\n")


def test_a_speaker_network_that_was_not_measured_is_told_of(septool: Command, meeting: Path, tmp_path: Path) -> None:
    network, config = build_model("speaker-net", SPEAKER), {**SPEAKER}
    header = checkpoints.Header(model="speaker-net", config=config, sample_rate=8000, sources=0)
    checkpoints.save(tmp_path / "mine.safetensors", network.state_dict(), header)
    said = f"septool: {tmp_path / 'mine.safetensors'}: how its embeddings are spread was not measured"
    for verb in (["activity", "-o", "-"], ["separate", "--speakers", "3", "-o", tmp_path / "out"]):
        result = septool(verb[0], meeting, *verb[1:], "--speaker-model", tmp_path / "mine.safetensors")
        assert result.status == 0
        assert any(text.startswith(said) for text in result.errors)
    assert not any("was not measured" in text for text in septool("activity", meeting, "-o", "-").errors)


def test_a_recording_with_nobody_in_it_is_done_once(septool: Command, meeting: Path, tmp_path: Path) -> None:
    audio.write_audio(tmp_path / "silence.wav", np.zeros(3 * 8000, np.float32), 8000)
    line = (
        "separate",
        tmp_path / "silence.wav",
        meeting,
        "--speakers",
        "auto",
        "-o",
        tmp_path / "out",
        "--skip-existing",
    )
    first, again = septool(*line), septool(*line, "--html", tmp_path / "report.html")
    assert first.status == again.status == 0
    assert [text.endswith("there already") for text in again.errors[:2]] == [True, True]
    assert again.lines == [line.partition("  ")[0] for line in first.lines]
    assert septool("activity", tmp_path / "silence.wav", "-o", "-").out == b""


def test_activity_of_many_recordings(septool: Command, meeting: Path, tmp_path: Path) -> None:
    """As many as one likes: listed, in several processes, in parts, and once only."""
    others = [shutil.copy(meeting, tmp_path / f"{name}.wav") for name in ("b", "a", "c")]
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in others))
    line = ("activity", "--from-file", tmp_path / "list", "-o", tmp_path / "out")
    parts = [septool(*line, "--shard", part, "--jobs", 2).lines for part in ("1/2", "2/2")]
    assert sorted(map(len, parts)) == [1, 2]
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == ["a.rttm", "b.rttm", "c.rttm"]
    assert len({path.read_text().replace(f" {path.stem} ", " x ") for path in files}) == 1
    files[1].unlink()
    again = septool(*line, "--skip-existing")
    assert [text.endswith("there already") for text in again.errors[:3]] == [False, True, True]


def test_several_on_standard_output_have_to_be_told_apart(septool: Command, meeting: Path, tmp_path: Path) -> None:
    other = shutil.copy(meeting, tmp_path / "other.wav")
    names = {line.split()[1] for line in septool("activity", meeting, other, "-o", "-").lines}
    assert names == {"meeting", "other"}
    refused = septool("activity", meeting, other, "-o", "-", "--format", "webvtt")
    assert refused.status == 2
    assert "--out - takes one recording in the format webvtt, 2 were given" in refused.errors[-1]
    refused = septool("activity", meeting, "-o", "-", "--skip-existing")
    assert refused.status == 2
    assert "--skip-existing goes by files, and --out - writes none; leave it out" in refused.errors[-1]


def test_activity_takes_what_separate_takes(septool: Command, meeting: Path, tmp_path: Path) -> None:
    samples, rate = audio.read_audio(meeting)
    raw = tmp_path / "meeting.s16le"
    raw.write_bytes(np.round(samples[0] * 32767).astype("<i2").tobytes())
    heard = septool("activity", raw, "--raw", f"s16le:{rate}:1", "-o", "-").lines
    assert heard == septool("activity", meeting, "-o", "-").lines
    each = septool("activity", meeting, "--channel", "each")
    assert each.status == 2
    assert "leave out --channel each" in each.errors[-1]


def test_activity_tells_of_each_recording_that_fails(septool: Command, meeting: Path, tmp_path: Path) -> None:
    long = tmp_path / "in" / ("x" * 251 + ".wav")  # there is no file of that name that ends in .rttm
    long.parent.mkdir()
    long.write_bytes(meeting.read_bytes())
    result = septool("activity", long, meeting, "-o", tmp_path / "out")
    assert (result.status, result.lines) == (1, [str(tmp_path / "out/meeting.rttm")])
    assert any(line.endswith("File name too long") for line in result.errors)
    piped = septool("activity", "-", "-o", "-", stdin=b"no sound at all")
    assert piped.status == 1
    assert piped.errors[-1].startswith("septool: standard input")
    assert "septool-" not in piped.errors[-1], "the temporary file is not what the user named"


def test_activity_says_what_a_folder_holds_besides(septool: Command, meeting: Path) -> None:
    meeting.with_name("notes.txt").touch()
    result = septool("activity", meeting.parent, "-o", meeting)  # which is no folder: nothing is done
    assert "septool: left out: 1 .txt" in result.errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--speakers", "101"], "septool: speakers is '101'; a conversation has 1 to 100 people"),
        (["--speakers", "2-" + "9" * 5000], "; a conversation has 1 to 100 people"),
        (["--speakers", "some"], "speakers is 'some'; it can be auto, a number of people such as 3, or a range"),
        (["--speakers", "0"], "speakers is '0'"),
        (["--speakers", "4-2"], "speakers is '4-2'"),
        (["--activity", "rttm"], "--activity is for conversations; give --speakers auto"),
        (["--rest", "r.wav"], "--rest is for conversations; give --speakers auto"),
        (["--speaker-model", "speaker-net"], "--speaker-model is for conversations; give --speakers auto"),
        (["--speakers", "2", "--rest", "leftover"], "leftover names no format"),
        (["--speakers", "2", "--activity", "srt"], "--activity is 'srt'; it can be rttm, json, audacity, webvtt"),
        (["--speakers", "2", "--reference", "a.wav"], "--reference is not for conversations"),
        (["--speakers", "2", "--model", "speaker-net"], "speaker-net"),
        (["--speakers", "2", "--rest", "{meeting}", "--force"], "would replace the recording; name another file"),
    ],
)
def test_what_contradicts_itself_is_refused(septool: Command, meeting: Path, arguments: list[str], said: str) -> None:
    result = septool("separate", meeting, *(part.replace("{meeting}", str(meeting)) for part in arguments))
    assert result.status in (1, 2)
    assert said in result.errors[-1]
    assert sorted(path.name for path in meeting.parent.iterdir()) == ["meeting.wav"]


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("{stem}", False, "--name '{stem}' gives every voice the same file; put {voice} in it"),
        ("{stem}_{voice:02d}", True, "--name '{stem}_{voice:02d}': {voice} is no number here; leave out :02d"),
    ],
)
def test_a_name_that_cannot_be_is_refused_before_the_work(
    septool: Command, meeting: Path, team: Path, monkeypatch: pytest.MonkeyPatch, name: str, known: bool, said: str
) -> None:
    monkeypatch.setattr(ConversationSeparator, "listen", lambda *_: pytest.fail("the work was begun"))
    who = ("--who", team) if known else ()
    result = septool("separate", meeting, "--speakers", "auto", *who, "--name", name, "-o", meeting.with_name("out"))
    assert (result.status, result.errors[-1]) == (2, f"septool: {said}")


def test_one_person_needs_no_number(septool: Command, meeting: Path, people: list[str], tmp_path: Path) -> None:
    people.pop()
    assert septool("separate", meeting, "--speakers", "1", "--name", "{stem}", "-o", tmp_path / "out").status == 0
    assert (tmp_path / "out/meeting.wav").exists()


def test_real_networks_take_the_example_apart(septool: Command, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "two-talkers.flac"
    result = septool("separate", example, "--speakers", "auto", "-o", tmp_path, "-d", "cpu", "--json")
    row = json.loads(result.lines[0])
    assert row["speakers"] == ["speaker1", "speaker2"]
    tracks = [audio.load_audio(Path(path), RATE) for path in row["outputs"]]
    assert {len(track) for track in tracks} == {len(audio.load_audio(example, RATE))}
