"""Faults that strangers' files found in ``septool mix``."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from septool import audio, files, workers
from septool.data import manifest
from septool.data.renderers import Rendered
from septool.tasks import mix
from tests.conftest import RATE, Command, voice, write


@pytest.fixture
def loud(tmp_path: Path) -> Path:
    """A manifest of two mixtures, the first of voices that together go far over full scale."""
    for name, pitch in (("a", 100), ("b", 190)):
        samples = voice(pitch, seconds=0.5)
        write(tmp_path / f"{name}.wav", samples / np.abs(samples).max() * 0.95)
    rows = [
        manifest.Mixture(
            id=id,
            sample_rate=RATE,
            sources=tuple(manifest.Source(path=f"{name}.wav", gain_db=gain_db) for name in "ab"),
            root=tmp_path,
        )
        for id, gain_db in (("loud", 3.0), ("quiet", -20.0))
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text(manifest.dump_manifest(rows))
    return path


def test_mixtures_are_scaled_as_a_whole_and_never_clipped(septool: Command, loud: Path, tmp_path: Path) -> None:
    exact = septool("mix", loud, "-o", tmp_path / "exact", "--subtype", "FLOAT", "--json")
    assert json.loads(exact.lines[0])["scaled_db"] == {}
    result = septool("mix", loud, "-o", tmp_path / "out")
    assert result.status == 0
    assert "1 rows were scaled to stay below full scale, loud the most, by -" in result.errors[-1]

    def read(folder: str, name: str) -> np.ndarray:
        return audio.load_audio(tmp_path / folder / f"{name}.wav", RATE)

    mixture = read("out", "loud")
    assert np.abs(mixture).max() == pytest.approx(0.9, abs=1e-4)
    np.testing.assert_allclose(read("out", "loud_s1") + read("out", "loud_s2"), mixture, atol=1.6 / 2**15)
    ratio = mixture @ read("exact", "loud") / (read("exact", "loud") @ read("exact", "loud"))
    np.testing.assert_allclose(mixture, ratio * read("exact", "loud"), atol=1 / 2**15)
    np.testing.assert_allclose(read("out", "quiet"), read("exact", "quiet"), atol=1 / 2**15)


@pytest.mark.parametrize("rate", [1, 5, 10**9])
def test_a_rate_that_no_recording_has_is_one_line(septool: Command, loud: Path, tmp_path: Path, rate: int) -> None:
    row = json.loads(loud.read_text().splitlines()[0]) | {"sample_rate": rate}
    loud.write_text(json.dumps(row) + "\n")
    result = septool("mix", loud, "-o", tmp_path / "out")
    assert result.status in (1, 2)
    (error,) = result.errors
    assert f"line 1: Mixture: sample_rate is {rate}; it is 1000 to 1000000 Hz" in error


@pytest.mark.parametrize("name", ["a\0b.wav", "a\ud800.wav"])
@pytest.mark.parametrize("key", ["id", "path"])
def test_names_that_no_file_has_are_one_line(septool: Command, loud: Path, tmp_path: Path, name: str, key: str) -> None:
    row = json.loads(loud.read_text().splitlines()[0])
    if key == "id":
        row["id"] = name
    else:
        row["sources"][0]["path"] = name
    loud.write_text(json.dumps(row) + "\n")
    result = septool("mix", loud, "-o", tmp_path / "out")
    assert result.status in (1, 2)
    assert "cannot be a file's name" in result.errors[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kills", "said"), [(False, f"there is not enough memory {workers.TOO_LARGE}"), (True, workers.KILLED)]
)
@pytest.mark.skipif(not workers.FORKS, reason="processes are not forked on this system")
def test_a_mixture_that_needs_too_much_memory_fails_alone(
    septool: Command, loud: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: bool, said: str
) -> None:
    render_mixture = mix.render_mixture

    def limited(row: manifest.Mixture, rate: int | None = None) -> Rendered:
        if row.id == "quiet":
            if kills:
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError
        return render_mixture(row, rate)

    monkeypatch.setattr(mix, "render_mixture", limited)
    result = septool("mix", loud, "-o", tmp_path / "out", "-j", 2)
    assert result.status == 1
    assert f"septool: quiet: {said}" in result.errors
    assert [row.id for row in manifest.read_manifest(tmp_path / "out/mixtures.jsonl")] == ["loud"]


def test_a_recording_that_breaks_off_is_told(septool: Command, loud: Path, tmp_path: Path) -> None:
    cut = tmp_path / "b.wav"
    cut.write_bytes(cut.read_bytes()[: 44 + RATE // 2])
    line = f"{cut} is cut off: its header says 0.5 s, 0.2 s are there"
    result = septool("mix", tmp_path / "a.wav", cut, "-o", tmp_path / "mixture.wav")
    assert (result.status, result.errors[0]) == (0, f"septool: {line}")
    assert audio.audio_info(tmp_path / "mixture.wav").frames == RATE // 4
    result = septool("mix", loud, "-o", tmp_path / "out")
    assert result.status == 1
    assert f"septool: none of the 2 rows of {loud} could be rendered" in result.errors[-1]
    assert line in result.errors[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"frames": 10**9, "mode": "max"},
            "mixture loud has 1000000000 frames; its longest voice has 4000, and 10 times",
        ),
        (
            {"noise": {"path": "a.wav", "frames": 10**9}, "rendering": "librimix"},
            "1000000000 frames of noise; its longest",
        ),
        ({"speed": 1e-9}, "line 1: sources[0]: a.wav has the speed 1e-09; it is 0.1 to 10"),
        ({"id": ""}, "line 1: Mixture: id is empty"),
    ],
)
def test_a_row_longer_than_its_voices_by_far_is_refused_at_once(
    septool: Command, loud: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    row = json.loads(loud.read_text().splitlines()[0])
    if "speed" in changes:
        row["sources"][0] |= changes
    else:
        row |= changes
    if "rendering" in changes:
        row["sample_rate"] = 16000
        for name, pitch in (("a", 100), ("b", 190)):
            write(tmp_path / f"{name}.wav", voice(pitch, seconds=0.5, rate=16000), 16000)
    loud.write_text(json.dumps(row) + "\n")
    for result in (septool("mix", loud, "-o", tmp_path / "out"), septool("eval", loud, tmp_path)):
        assert result.status in (1, 2)
        assert said in result.errors[-1] or any(said in line for line in result.errors)


def test_a_manifest_with_the_mark_that_some_editors_write(septool: Command, loud: Path, tmp_path: Path) -> None:
    loud.write_bytes(b"\xef\xbb\xbf" + loud.read_bytes().replace(b"\n", b"\r\n"))
    assert septool("mix", loud, "-o", tmp_path / "out").status == 0
    assert (tmp_path / "out/loud.wav").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (("mix", "{pipe}.jsonl", "-o", "out"), "is a named pipe; a manifest is read more than once, save it as a file"),
        (("eval", "{pipe}.jsonl", "est"), "is a named pipe; a manifest is read more than once, save it as a file"),
        (("eval", "{pipe}.txt", "--model", "speaker-net"), "cannot be read: nobody writes to this named pipe"),
        (("train", "{pipe}.toml", "-o", "run"), "cannot be read: nobody writes to this named pipe"),
        (("separate", "--from-file", "{pipe}"), "cannot be read: nobody writes to this named pipe"),
    ],
)
def test_a_list_that_nobody_writes_is_not_waited_for(
    septool: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "WAIT_S", 0.05)
    arguments = [part.format(pipe="pipe") for part in verb]
    os.mkfifo(next(part for part in arguments if part.startswith("pipe")))
    result = septool(*arguments)
    assert result.status in (1, 2)
    assert said in result.errors[-1]


def test_a_rate_of_a_mixture_has_a_range(septool: Command, loud: Path, tmp_path: Path) -> None:
    for verb in (
        ("mix", loud.parent / "a.wav", loud.parent / "b.wav", "-o", tmp_path / "x.wav"),
        ("eval", "ref", "est"),
    ):
        result = septool(*verb, "--sample-rate", 999_999_999)
        assert result.status == 2
        assert "at most 1,000,000, not '999999999'" in result.errors[-1]


def test_a_hole_in_a_recording_counts_told_flagged_and_also_when_quiet(septool: Command, tmp_path: Path) -> None:
    for number, pitch in enumerate((110, 190)):
        write(tmp_path / f"{number}.ogg", voice(pitch, seconds=8.0), subtype="VORBIS")
    data = bytearray((tmp_path / "0.ogg").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    (tmp_path / "0.ogg").write_bytes(data)
    for quiet in ((), ("--quiet",)):
        result = septool(
            "mix", tmp_path / "0.ogg", tmp_path / "1.ogg", "-o", tmp_path / "m.wav", "--force", "--json", *quiet
        )
        assert result.status == 1
        (finding,) = json.loads(result.lines[0])["findings"]
        assert finding["kind"] == "gap"
        assert finding["is_partial"]
        assert [line for line in result.errors if finding["text"] in line]


def test_a_device_is_no_list(septool: Command, tmp_path: Path) -> None:
    lists = ("--set", "data.train=/dev/zero", "--set", "data.validation=/dev/zero")
    result = septool("train", "galr-small", *lists, "-o", tmp_path / "run")
    assert result.status == 1
    assert "/dev/zero cannot be read: it is a device, not a file" in result.errors[-1]
