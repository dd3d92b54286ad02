"""``septool extract`` from argument list to exit status, with every kind of bad input."""

import json
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import audio, checkpoints
from septool.data import manifest
from septool.data.manifest import Enrollment, Mixture, Source
from septool.errors import AudioError
from septool.files import sha256_of
from septool.inference.enrollment import Reference, read_reference
from septool.models import MODELS
from septool.models.base import Extraction
from septool.tasks.enroll import load_excerpts
from tests.conftest import RATE, Command, voice, write


@pytest.fixture
def alice(tmp_path: Path) -> Path:
    """A reference of the call's first voice."""
    path = tmp_path / "alice.wav"
    audio.write_audio(path, voice(110, seed=5), RATE)
    return path


@pytest.fixture
def extract(septool: Command, tiny_extractor: Path, tmp_path: Path) -> Command:
    def command(*arguments: object, stdin: bytes = b""):
        where = () if "-o" in arguments else ("-o", tmp_path / "out")
        return septool("extract", *arguments, "-m", tiny_extractor, "-d", "cpu", *where, stdin=stdin)

    return command


def test_the_voice_has_the_recordings_rate_and_length(
    extract: Command, call: Path, alice: Path, tmp_path: Path
) -> None:
    result = extract(call, "--reference", alice)
    assert result.status == 0
    assert result.lines == [str(tmp_path / "out/call_voice.wav")]
    assert result.errors[0].startswith(f"septool: {call}: 3.0 s in ")
    assert audio.audio_info(Path(result.lines[0])) == audio.audio_info(call)
    assert audio.read_audio(Path(result.lines[0]))[0].any()


def test_a_file_can_be_named(extract: Command, call: Path, alice: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "alice_only.flac"
    result = extract(call, "--reference", alice, "-o", target, "--format", "flac")
    assert result.lines == [str(target)]
    assert audio.audio_info(target).frames == audio.audio_info(call).frames


def test_a_channel_can_be_chosen(extract: Command, call: Path, alice: Path, tmp_path: Path) -> None:
    (alone,) = extract(call, "--reference", alice).lines
    both = write(tmp_path / "both.wav", np.stack([voice(300), audio.read_audio(call)[0][0]]))
    (chosen,) = extract(both, "--reference", alice, "--channel", 2).lines
    assert Path(chosen).read_bytes() == Path(alone).read_bytes()


def test_several_references_are_averaged(extract: Command, call: Path, alice: Path, tmp_path: Path) -> None:
    bob = write(tmp_path / "bob.wav", voice(300, seed=6))

    def heard(*references: Path) -> np.ndarray:
        arguments = [word for path in references for word in ("--reference", path)]
        return audio.read_audio(Path(extract(call, *arguments, "--force").lines[0]))[0]

    both = heard(alice, bob)
    np.testing.assert_array_equal(both, heard(bob, alice))
    np.testing.assert_array_equal(heard(alice, alice), heard(alice))
    assert (both != heard(alice)).any()
    assert (both != heard(bob)).any()


def test_of_an_excerpt_its_own_channels_count(tmp_path: Path) -> None:
    """They cancel each other in it, not in the recording that it is from."""
    said, loud = voice(110, seconds=3), 3 * voice(200, seconds=6)
    balanced = np.concatenate([np.stack([loud, loud]), np.stack([said, -said])], axis=1).astype(np.float32)
    path, told = write(tmp_path / "both.wav", 0.2 * balanced), []
    heard = read_reference(path, RATE, 6 * RATE, 3 * RATE, told.append)
    np.testing.assert_allclose(heard, 0.2 * said, atol=1e-4)
    assert told == [f"{path}: its channels cancel each other; channel 1, the loudest, is used"]
    heard = load_excerpts([Reference(path, 6, 7.5), Reference(path, 7.5, 9)], RATE, "ann", told.append)
    np.testing.assert_allclose(heard, 0.2 * said, atol=1e-4)
    assert told[1:] == told[:1]


def test_presence_is_printed_and_its_lack_is_silence(extract: Command, call: Path, alice: Path) -> None:
    absent = extract(call, "--reference", alice, "--presence")
    assert absent.status == 0
    path, words = absent.lines[0].split("  ")
    assert words.startswith("presence ")
    assert words.endswith(", not there, silence (from 1000.00)")
    assert not audio.read_audio(Path(path))[0].any()
    present = extract(call, "--reference", alice, "--presence", "--threshold", "-1000", "--force")
    assert present.lines[0].endswith(", there (from -1000.00)")
    assert audio.read_audio(Path(path))[0].any()


def test_each_channel_has_a_presence_of_its_own(extract: Command, call: Path, alice: Path, tmp_path: Path) -> None:
    both = write(tmp_path / "both.wav", np.stack([audio.read_audio(call)[0][0], voice(300)]), RATE)
    asked = (
        "--reference",
        alice,
        "--presence",
        "--threshold",
        "-1000",
        "--segment",
        "2",
        "--overlap",
        "0.5",
        "--force",
    )
    result = extract(both, *asked, "--channel", "each", "--name", "{stem}_{channel}")
    alone = [json.loads(extract(both, *asked, "--json", "--channel", n).lines[0])["presence"] for n in (1, 2)]
    assert [line.partition("presence ")[2].partition(",")[0] for line in result.lines] == [f"{x:.2f}" for x in alone]
    assert len({f"{x:.2f}" for x in alone}) == 2


def test_json_is_a_line_for_every_recording(extract: Command, call: Path, alice: Path, tmp_path: Path) -> None:
    result = extract(call, tmp_path / "missing.wav", "--reference", alice, "--presence", "--json", "-q")
    assert result.status == 1
    done, failed = map(json.loads, result.lines)
    assert done["output"] == str(tmp_path / "out/call_voice.wav")
    assert (done["seconds"], done["rate"], done["channels"]) == (3.0, RATE, 1)
    assert (done["present"], done["threshold"]) == (False, 1000.0)
    assert failed == {"input": str(tmp_path / "missing.wav"), "error": f"{tmp_path / 'missing.wav'} does not exist"}
    assert result.errors == [f"septool: {failed['error']}"]


def test_without_presence_nothing_is_judged(extract: Command, call: Path, alice: Path) -> None:
    row = json.loads(extract(call, "--reference", alice, "--json").lines[0])
    assert (row["present"], row["threshold"]) == (None, None)
    assert np.isfinite(row["presence"])


def test_what_is_there_is_left(extract: Command, call: Path, alice: Path) -> None:
    extract(call, "--reference", alice)
    again = extract(call, "--reference", alice)
    assert again.status == 1
    assert "exists; use --force to replace it or --skip-existing" in again.errors[0]
    skipped = extract(call, "--reference", alice, "--skip-existing")
    assert skipped.status == 0
    assert skipped.errors == [f"septool: {call}: there already"]


def test_a_threshold_without_presence_is_refused(extract: Command, call: Path, alice: Path) -> None:
    result = extract(call, "--reference", alice, "--threshold", 1000)
    assert (result.status, result.errors) == (
        2,
        ["septool: --threshold 1000 is for --presence, which was not given"],
    )


def test_each_recording_is_of_one_share(extract: Command, call: Path, alice: Path) -> None:
    shares = [extract(call, "--reference", alice, "--force", "--shard", f"{part}/3") for part in (1, 2, 3)]
    assert sorted(len(result.lines) for result in shares) == [0, 0, 1]
    assert [result.status for result in shares] == [0, 0, 0]


@pytest.mark.parametrize("frames", [1, 3 * RATE])
def test_silence_stays_silence(extract: Command, alice: Path, tmp_path: Path, frames: int) -> None:
    quiet = write(tmp_path / "quiet.wav", np.zeros(frames, dtype=np.float32))
    result = extract(quiet, "--reference", alice, "--json")
    assert result.status == 0
    assert np.isfinite(json.loads(result.lines[0])["presence"])
    voiced = audio.read_audio(tmp_path / "out/quiet_voice.wav")[0]
    assert voiced.shape == (1, frames)
    assert not voiced.any()


def test_pipes(extract: Command, call: Path, alice: Path) -> None:
    result = extract(
        "-", "--reference", alice, "-o", "-", "--presence", "--threshold", "-1000", stdin=call.read_bytes()
    )
    assert result.status == 0
    path = call.with_name("piped.wav")
    path.write_bytes(result.out)
    samples, rate = audio.read_audio(path)
    assert (samples.shape, rate) == ((1, 3 * RATE), RATE)
    assert any(line.startswith("septool: presence ") for line in result.errors)


def test_long_recordings_are_judged_segment_by_segment(extract: Command, alice: Path, tmp_path: Path) -> None:
    long = write(tmp_path / "long.wav", np.tile(voice(110, seed=1) + voice(210, seed=2), 4))
    whole = ("--reference", alice, "--segment", "5", "--overlap", "1")
    result = extract(long, *whole, "--json")
    assert audio.audio_info(tmp_path / "out/long_voice.wav").frames == 12 * RATE
    most = json.loads(result.lines[0])["presence"]
    # Between the scores of two segments: some are silenced, the best one is not.
    some = extract(long, *whole, "--presence", "--threshold", most - 1e-6, "--force", "--json")
    assert json.loads(some.lines[0])["present"] is True
    voiced = audio.read_audio(tmp_path / "out/long_voice.wav")[0][0]
    assert voiced.any()
    assert not voiced.reshape(12, -1).any(axis=1).all()


def test_a_manifest_brings_its_references(extract: Command, alice: Path, tmp_path: Path) -> None:
    for n in (1, 2):
        write(tmp_path / f"v{n}.wav", voice(100 * n, seconds=1.5, seed=n))
    sources = (Source(path="v1.wav"), Source(path="v2.wav", gain_db=-3.0))
    with_ = Mixture(id="a/b", sample_rate=RATE, sources=sources, enrollment=Enrollment(path="alice.wav"))
    path = tmp_path / "rows.jsonl"
    path.write_text(manifest.dump_manifest([with_, replace(with_, id="c", enrollment=None)]))
    result = extract(path)
    assert result.status == 1
    assert result.lines == [str(tmp_path / "out/a_b_voice.wav")]
    assert result.errors[-1] == "septool: mixture c has no enrollment"
    before = audio.read_audio(tmp_path / "out/a_b_voice.wav")[0]
    row = json.loads(extract(path, "--json", "--force", "-j", 2).lines[0])
    np.testing.assert_allclose(audio.read_audio(tmp_path / "out/a_b_voice.wav")[0], before, atol=2 / 2**15)
    assert (row["input"], row["manifest_sha256"]) == ("a/b", sha256_of(path))
    assert audio.audio_info(tmp_path / "out/a_b_voice.wav").frames == round(1.5 * RATE)
    one = write(
        tmp_path / "one.wav",
        audio.read_audio(tmp_path / "v1.wav")[0][0] + 10 ** (-3 / 20) * audio.read_audio(tmp_path / "v2.wav")[0][0],
        subtype="FLOAT",
    )
    alone = extract(one, "--reference", alice)
    np.testing.assert_allclose(
        audio.read_audio(Path(alone.lines[0]))[0], audio.read_audio(Path(result.lines[0]))[0], atol=1e-3
    )


def test_a_row_may_be_called_as_standard_input_is_and_is_known_by_its_recordings(
    extract: Command, alice: Path, tmp_path: Path
) -> None:
    row = Mixture(id="-", sample_rate=RATE, sources=(Source(path=alice.name),), enrollment=Enrollment(path=alice.name))
    path = tmp_path / "rows.jsonl"
    path.write_text(manifest.dump_manifest([row]))
    noted = ("--manifest", tmp_path / "results.jsonl", "--skip-existing")
    assert extract(path, *noted).lines == [str(tmp_path / "out/-_voice.wav")]
    write(alice, voice(120, seed=6))
    result = extract(path, *noted)
    assert result.status == 1
    assert "the recording is not the same any more" in result.errors[-1]


def test_a_page_has_recording_reference_and_voice_and_of_a_row_the_voice(
    extract: Command, call: Path, alice: Path, tmp_path: Path
) -> None:
    html = tmp_path / "page.html"
    assert extract(call, "--reference", alice, "--presence", "--html", html).status == 0
    assert re.findall(r'src="([^"d][^"]*)"', html.read_text()) == ["in/call.wav", "alice.wav", "out/call_voice.wav"]
    assert re.search(r"<figcaption>voice \(presence .*, not there, silence \(from 1000.00\)\)", html.read_text())
    row = Mixture(
        id="a", sample_rate=RATE, sources=(Source(path="alice.wav"),), enrollment=Enrollment(path="alice.wav")
    )
    (tmp_path / "rows.jsonl").write_text(manifest.dump_manifest([row]))
    assert extract(tmp_path / "rows.jsonl", "--html", html, "--force").status == 0
    assert re.findall(r'src="([^"d][^"]*)"', html.read_text()) == ["out/a_voice.wav"]


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (voice(110, seconds=0.5), r"has 0\.\d s of speech; 1 s is needed, 3 s or more are better"),
        (np.zeros(3 * RATE), "is silent; give a recording in which the voice speaks"),
        (np.zeros(0), "is silent; give a recording in which the voice speaks"),
        (np.full(3 * RATE, np.nan), r"holds non-finite samples \(NaN or infinite\)"),
    ],
    ids=["short", "silent", "empty", "not-numbers"],
)
def test_a_reference_that_is_no_use_is_worded(
    extract: Command, call: Path, tmp_path: Path, samples: np.ndarray, said: str
) -> None:
    path = write(tmp_path / "bad.wav", samples.astype(np.float32), subtype="FLOAT")
    result = extract(call, "--reference", path)
    assert (result.status, result.lines) == (1, [])
    assert len(result.errors) == 1
    assert re.fullmatch(f"septool: (reference )?{re.escape(str(path))} {said}", result.errors[0])
    assert not (tmp_path / "out").exists()


def test_a_missing_reference_is_worded(extract: Command, call: Path, tmp_path: Path) -> None:
    result = extract(call, "--reference", tmp_path / "nobody.wav")
    assert (result.status, result.errors) == (1, [f"septool: {tmp_path / 'nobody.wav'} does not exist"])


def test_a_reference_of_any_rate_level_and_channel_count_will_do(
    extract: Command, call: Path, alice: Path, tmp_path: Path
) -> None:
    plain = audio.read_audio(Path(extract(call, "--reference", alice).lines[0]))[0]
    samples = audio.read_audio(alice)[0][0]
    other = write(tmp_path / "other.wav", np.stack([0.2 * samples, 0.2 * samples]), subtype="FLOAT")
    again = audio.read_audio(Path(extract(call, "--reference", other, "--force").lines[0]))[0]
    np.testing.assert_allclose(again, plain, atol=1e-4)
    fast = write(tmp_path / "fast.wav", audio.resample(samples, RATE, 22050), 22050)
    assert extract(call, "--reference", fast, "--force").status == 0


def test_only_the_first_minute_of_a_reference_is_listened_to(extract: Command, call: Path, tmp_path: Path) -> None:
    minute = np.resize(voice(110, seed=5), 60 * RATE)
    first = write(tmp_path / "minute.wav", minute)
    long = write(tmp_path / "long.wav", np.concatenate([minute, voice(300, seconds=20, seed=9)]))
    plain = audio.read_audio(Path(extract(call, "--reference", first).lines[0]))[0]
    np.testing.assert_array_equal(
        audio.read_audio(Path(extract(call, "--reference", long, "--force").lines[0]))[0], plain
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["call.wav"], "give a recording of the wanted voice with --reference"),
        (["rows.jsonl", "--reference", "alice.wav"], "rows.jsonl has its own enrollments; leave out --reference"),
        (["rows.jsonl", "--channel", "1"], "the mixtures of rows.jsonl have one channel; leave out --channel"),
        (["rows.jsonl", "call.wav"], "rows.jsonl is a manifest; give it alone"),
        (["call.wav", "b.wav", "--reference", "alice.wav", "-o", "-"], "--out - takes one input, 2 were given"),
        (
            ["call.wav", "b.wav", "--reference", "alice.wav", "-o", "x.wav"],
            "--out x.wav is a file, 2 recordings were given; name a folder",
        ),
        (
            ["call.wav", "--reference", "alice.wav", "-o", "x.wav", "--channel", "each"],
            "--out x.wav is one file, and --channel each writes one a channel; name a folder",
        ),
        (
            ["call.wav", "--reference", "alice.wav", "-o", "x.wav", "--name", "{stem}"],
            "--out x.wav names the file; leave out --name, or name a folder",
        ),
        (
            ["call.wav", "--reference", "alice.wav", "-o", "x.wav", "--format", "flac"],
            "--out x.wav has another format than --format flac; leave one of them out",
        ),
        (["call.wav", "--reference", "alice.wav", "-o", "v.m4a"], "v.m4a has the suffix '.m4a'; audio can be written"),
        (["call.wav", "--reference", "alice.wav", "-o", "./alice.wav"], "--reference alice.wav would be replaced"),
        (["call.wav", "--reference", "alice.wav", "-o", "call.wav"], "call.wav would be replaced by a voice of"),
        (["call.wav", "--reference", "alice.wav", "--overlap", "6"], "overlap is 6 s; it has to be above 0"),
        (["call.wav", "--reference", "alice.wav", "--format", "txt"], "--format is 'txt'; it can be aif, "),
        (["call.wav", "--reference", "alice.wav", "--name", "{voices}"], "--name '{voices}' can use"),
        (["call.wav", "--who", "v.safetensors", "--stream"], "--who writes a file a voice; leave out --stream"),
        (
            ["call.wav", "--who", "v.safetensors", "--channel", "each"],
            "--who writes a file a voice; leave out --channel each",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_status_2(
    extract: Command, call: Path, alice: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(call.parent)
    audio.write_audio(Path("alice.wav"), audio.read_audio(alice)[0], RATE)
    row = Mixture(
        id="a", sample_rate=RATE, sources=(Source(path="alice.wav"),), enrollment=Enrollment(path="alice.wav")
    )
    Path("rows.jsonl").write_text(manifest.dump_manifest([row]))
    before = {path: path.read_bytes() for path in Path().iterdir()}
    result = extract(*arguments)
    assert (result.status, result.out) == (2, b"")
    assert len(result.errors) == 1
    assert result.errors[0].startswith(f"septool: {said}")
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_names_of_references_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    path = write(tmp_path / "a\x1b[1m.wav", np.zeros(RATE))
    with pytest.raises(AudioError, match=r"a\\x1b\[1m\.wav is silent"):
        read_reference(path, RATE)


def test_a_checkpoint_that_does_not_extract_is_refused(septool: Command, call: Path, alice: Path) -> None:
    result = septool("extract", call, "--reference", alice, "-m", "speaker-net")
    assert result.status == 1
    assert result.errors[-1].endswith("speaker-net-8k.safetensors is a speaker-net, which does not extract")


def test_a_checkpoint_without_a_threshold_wants_one(
    septool: Command, tiny_extractor: Path, call: Path, alice: Path, tmp_path: Path
) -> None:
    model, header = checkpoints.load(tiny_extractor, MODELS["voicefilter"])
    path = tmp_path / "plain.safetensors"
    checkpoints.save(path, model.state_dict(), replace(header, presence_threshold=None))
    result = septool("extract", call, "--reference", alice, "--presence", "-m", path, "-o", tmp_path / "out")
    assert result.status == 2
    assert result.errors == ["septool: plain has no measured threshold for --presence; give one with --threshold"]


def test_memory_does_not_grow_with_the_recording(
    extract: Command, alice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def same(_: Any, mixture: torch.Tensor, __: torch.Tensor) -> Extraction:
        seen.append(mixture.shape[1])
        return Extraction(mixture, torch.zeros(1))

    monkeypatch.setattr(MODELS["voicefilter"], "extract_with_score", same)

    for seconds in (30, 300):
        write(tmp_path / f"{seconds}.wav", np.resize(voice(110, seed=1), seconds * RATE))

    def work_on(seconds: int) -> None:
        seen.clear()
        arguments = ("--reference", alice, "--segment", "4", "--overlap", "1", "--force")
        assert extract(tmp_path / f"{seconds}.wav", *arguments).status == 0

    def peak(seconds: int) -> int:
        tracemalloc.start()
        work_on(seconds)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    work_on(30)  # what is imported and kept the first time
    short = peak(30)
    assert peak(300) < 1.1 * short
    assert (max(seen), len(seen)) == (4 * RATE, 100)


def test_an_extractor_does_not_separate(septool: Command, tiny_extractor: Path, call: Path) -> None:
    result = septool("separate", call, "-m", tiny_extractor)
    assert result.errors == [f"septool: checkpoint {tiny_extractor} is a voicefilter, which does not separate"]
    assert (result.status, result.out) == (1, b"")
