"""``septool enroll``, and the verbs that know the voices it keeps."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from torch import nn

from septool import audio, catalogue, checkpoints
from septool.inference.cascade import load_extractor
from septool.inference.enrollment import Reference
from septool.inference.voiceprints import Voiceprint, VoiceprintSet, find_voiceprints, network_digest, write_voiceprints
from septool.models import SPEAKER_MODEL
from septool.models.base import Extractor, SpeakerEncoder
from septool.models.speaker_net import Config, SpeakerNet
from septool.tasks.enroll import load_excerpts
from tests.conftest import RATE, Command, voice, write


@pytest.fixture(scope="session")
def tiny_speaker(tiny_extractor: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The speaker network of the tiny extractor."""
    extractor, _ = checkpoints.load(tiny_extractor, Extractor)
    network = SpeakerNet(Config(**asdict(extractor.config.speaker), speakers=2))
    network.embedding.load_state_dict(extractor.speaker.state_dict())
    path = tmp_path_factory.mktemp("checkpoint") / "speaker.safetensors"
    header = checkpoints.Header(model="speaker-net", config=asdict(network.config), sample_rate=RATE, sources=0)
    checkpoints.save(path, network.state_dict(), header)
    return path


@pytest.fixture
def enroll(septool: Command, tiny_speaker: Path, tmp_path: Path) -> Command:
    def command(*arguments: object, stdin: bytes = b""):
        where = () if "-o" in arguments else ("-o", tmp_path / "voices.safetensors")
        return septool("enroll", *arguments, "--speaker-model", tiny_speaker, "-d", "cpu", *where, stdin=stdin)

    return command


def embedding(path: Path, name: str) -> np.ndarray:
    """What the one network of a file of voiceprints knows a voice by."""
    (found,) = (value for key, value in load_file(path).items() if key.partition("/")[2] == name)
    return found


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Two sub-folders with a voice each."""
    for name, pitch in (("alice", 110), ("bob", 190)):
        for number in (1, 2):
            write(tmp_path / "people" / name / f"{number}.wav", voice(pitch, seed=number))
    return tmp_path / "people"


def test_a_kept_voice_is_extracted_as_by_its_recordings(
    enroll: Command, septool: Command, people: Path, call: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    kept = enroll(people / "alice/1.wav", people / "alice/2.wav", "--name", "alice")
    assert (kept.status, kept.lines) == (0, ["alice  6.0 s of 2 recordings"])
    common = ("-m", tiny_extractor, "-d", "cpu", "--threshold", -100)
    references = ("--reference", people / "alice/1.wav", "--reference", people / "alice/2.wav")
    (expected,) = septool("extract", call, *references, *common, "--presence", "-o", tmp_path / "a").lines
    result = septool("extract", call, "--who", tmp_path / "voices.safetensors", *common, "-o", tmp_path / "b")
    assert result.status == 0
    assert result.lines == [expected.replace("/a/call_voice.wav", "/b/call_alice.wav")]
    assert (tmp_path / "b/call_alice.wav").read_bytes() == (tmp_path / "a/call_voice.wav").read_bytes()


def test_every_sub_folder_is_a_voice_and_gets_a_file(
    enroll: Command, septool: Command, people: Path, call: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    kept = enroll(people, "--json")
    assert [json.loads(line)["name"] for line in kept.lines] == ["alice", "bob"]
    kept_as = sorted(load_file(tmp_path / "voices.safetensors"))
    assert [name.partition("/")[2] for name in kept_as] == ["alice", "bob"]
    arguments = ("-m", tiny_extractor, "-d", "cpu", "-o", tmp_path / "out", "--json")
    (line,) = septool("extract", call, "--who", tmp_path / "voices.safetensors", *arguments).lines
    row = json.loads(line)
    assert row["voices"] == ["alice", "bob"]
    assert row["present"] == []  # by the tiny extractor's threshold, which no score reaches
    assert [Path(output).name for output in row["outputs"]] == ["call_alice.wav", "call_bob.wav"]
    assert not any(audio.read_audio(Path(output))[0].any() for output in row["outputs"])
    (line,) = septool("extract", call, "--who", f"{tmp_path}/voices.safetensors#bob", *arguments, "--force").lines
    assert json.loads(line)["voices"] == ["bob"]
    result = septool("extract", call, "--who", tmp_path / "voices.safetensors", *arguments[:4], "-o", "x.wav")
    assert result.status == 2
    assert result.errors == ["septool: --who writes a file a voice; --out is a folder for them, not x.wav"]


def test_what_a_folder_holds_besides_is_told(
    enroll: Command, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "bob":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    (people / "notes.txt").touch()
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)  # to root everything is permitted
    result = enroll(people)
    assert (result.status, result.errors) == (
        1,
        ["septool: left out: 1 .txt", f"septool: {people / 'bob'} cannot be listed: no permission"],
    )
    assert not (tmp_path / "voices.safetensors").exists()


def test_an_excerpt_of_a_recording_is_a_reference(enroll: Command, people: Path, tmp_path: Path) -> None:
    alone = people / "alice/1.wav"
    long = write(tmp_path / "meeting.wav", np.concatenate([voice(240), audio.read_audio(alone)[0][0], voice(300)]))
    enroll(f"{long}@3.0-6.0", "--name", "alice", "-o", tmp_path / "excerpt.safetensors")
    enroll(alone, "--name", "alice", "-o", tmp_path / "alone.safetensors")
    excerpt, whole = (embedding(tmp_path / f"{name}.safetensors", "alice") for name in ("excerpt", "alone"))
    np.testing.assert_allclose(excerpt, whole, atol=1e-5)


def test_an_excerpt_that_is_longer_than_its_recording_is_told_of(enroll: Command, people: Path, tmp_path: Path) -> None:
    alone = people / "alice/1.wav"
    result = enroll(f"{alone}@1-20", "--name", "alice", "-o", tmp_path / "alice.safetensors")
    assert result.status == 0
    assert f"septool: {alone} is 3.0 s long; the excerpt ends there, not at 20 s" in result.errors


def test_everybody_of_a_recording_is_learned_from_where_nobody_else_speaks(
    enroll: Command, people: Path, tmp_path: Path
) -> None:
    alice, bob = (audio.read_audio(people / f"{name}/1.wav")[0][0] for name in ("alice", "bob"))
    samples = np.concatenate([alice, alice + bob, bob])
    recording = write(tmp_path / "meeting.wav", samples, subtype="FLOAT")
    rttm = tmp_path / "who.rttm"
    rttm.write_text(
        "SPEAKER meeting 1 0.0 6.0 <NA> <NA> ann <NA> <NA>\nSPEAKER meeting 1 3.0 6.0 <NA> <NA> ben <NA> <NA>\n"
    )
    assert enroll(recording, "--activity", rttm).lines == [
        "ann  3.0 s of 1 recording",
        "ben  3.0 s of 1 recording",
    ]
    enroll(people / "alice/1.wav", "-o", tmp_path / "alone.safetensors")
    together = embedding(tmp_path / "voices.safetensors", "ann")
    np.testing.assert_allclose(together, embedding(tmp_path / "alone.safetensors", "alone"), atol=1e-3)
    # Of channels that cancel each other one is used, as everywhere.
    write(recording, np.stack([samples, -0.9 * samples]), subtype="FLOAT")
    enroll(recording, "--activity", rttm, "--force")
    np.testing.assert_allclose(embedding(tmp_path / "voices.safetensors", "ann"), together, atol=1e-3)


def test_a_minute_of_what_somebody_says_is_enough(tmp_path: Path) -> None:
    recording = write(tmp_path / "long.wav", np.stack([voice(110, seconds=20, seed=1)] * 2))
    excerpts = [Reference(recording, 0.0, 19.0 - n) for n in range(6)]
    assert len(load_excerpts(excerpts, RATE, "ann")) == 60 * RATE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{alice}@2-1"], "an excerpt ends after it starts"),
        (["{alice}@9-12"], "it has nothing from 9 s on"),
        (["{alice}@0-0.5"], "1 s is needed"),
        (["{people}", "--name", "carol"], "the folders have alice, bob"),
        (["{alice}", "--name", "a/b"], "cannot be the name of a voice"),
        (["{alice}", "--name", "Jos\udce9"], "cannot be the name of a voice"),
        (["{alice}", "-o", "voices.wav"], "has to end in .safetensors"),
        (["-"], "standard input is not one"),
        (["{alice}", "--activity", "{alice}"], "is not an RTTM file"),
    ],
)
def test_what_no_voice_can_be_learned_from_is_refused(
    enroll: Command, people: Path, arguments: list[str], said: str, tmp_path: Path
) -> None:
    places = {"alice": people / "alice/1.wav", "people": people}
    result = enroll(*(part.format(**places) for part in arguments))
    assert result.status in (1, 2)
    assert said in result.errors[-1]
    assert not (tmp_path / "voices.safetensors").exists()


def test_nobody_is_learned_who_is_always_talked_over_or_speaks_beyond_the_end(
    enroll: Command, people: Path, tmp_path: Path
) -> None:
    recording, rttm = people / "alice/1.wav", tmp_path / "a.rttm"
    rttm.write_text("".join(f"SPEAKER 1 1 0.0 1.5 <NA> <NA> {name} <NA> <NA>\n" for name in ("ann", "bob")))
    result = enroll(recording, "--activity", rttm)
    assert (result.status, len(result.errors)) == (2, 1)
    assert result.errors[0].startswith(f"septool: {rttm}: ann never speaks alone for ")
    rttm.write_text("SPEAKER 1 1 60.0 1.5 <NA> <NA> ann <NA> <NA>\n")
    result = enroll(recording, "--activity", rttm)
    assert (result.status, len(result.errors)) == (1, 1)
    assert result.errors[0].endswith(" s long; ann is said to speak at 60 s")
    assert not (tmp_path / "voices.safetensors").exists()


def test_voices_are_known_to_separate_and_to_extract(septool: Command, people: Path, tmp_path: Path) -> None:
    path = tmp_path / "both.safetensors"
    assert septool("enroll", people, "-d", "cpu", "-o", path).status == 0
    encoder, _ = checkpoints.load(catalogue.resolve_checkpoint(SPEAKER_MODEL)[1], SpeakerEncoder)
    extractor, _ = load_extractor(catalogue.resolve_checkpoint("galr")[1])
    for network in (encoder.embedding, extractor.speaker):
        voices = find_voiceprints(str(path), network)
        assert [voice.name for voice in voices] == ["alice", "bob"]
        assert all(voice.embedding.shape == (192,) for voice in voices)


def test_what_is_said_of_a_recording_is_said_once(septool: Command, tmp_path: Path) -> None:
    samples = voice(110, seed=1)
    path = write(tmp_path / "alice.wav", np.stack([samples, -0.9 * samples]), subtype="FLOAT")
    result = septool("enroll", path, "-d", "cpu", "-o", tmp_path / "alice.safetensors")
    assert sum("cancel each other" in line for line in result.errors) == 1


def test_a_file_of_voices_may_have_a_comma_in_its_name(tmp_path: Path) -> None:
    network, path = nn.Linear(2, 2), tmp_path / "alice, bob.safetensors"
    voices = [Voiceprint(name, np.ones(8, dtype=np.float32), 3.0) for name in ("alice", "bob")]
    write_voiceprints(path, VoiceprintSet("own", network_digest(network), RATE, voices))
    assert [voice.name for voice in find_voiceprints(str(path), network)] == ["alice", "bob"]


def test_files_that_are_no_voiceprints_of_this_network_are_refused(
    septool: Command, enroll: Command, people: Path, call: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    def errors(who: object) -> str:
        result = septool("extract", call, "--who", who, "-m", tiny_extractor, "-d", "cpu", "-o", tmp_path / "out")
        assert result.status != 0
        return result.errors[-1]

    assert "there is no file nowhere.safetensors" in errors("nowhere.safetensors")
    assert "no file of voiceprints, or damaged" in errors(call)
    save_file({"x": np.zeros(3, dtype=np.float32)}, tmp_path / "other.safetensors")
    assert "has no voiceprints" in errors(tmp_path / "other.safetensors")
    voices = [Voiceprint("alice", np.ones(8, dtype=np.float32), 3.0)]
    write_voiceprints(tmp_path / "theirs.safetensors", VoiceprintSet("another", "0" * 64, 16000, voices))
    assert "made by another speaker network, another; enroll" in errors(tmp_path / "theirs.safetensors")
    enroll(people)
    own = tmp_path / "voices.safetensors"
    assert "has no voice 'carol'; it has alice, bob" in errors(f"{own}#carol")
    assert "two voices are called alice" in errors(f"{own},{own}#alice")
    assert (
        "takes the place of references"
        in (
            septool("extract", call, "--who", own, "--reference", call, "-m", tiny_extractor, "-o", tmp_path).errors[-1]
        )
    )
