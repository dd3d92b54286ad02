"""``septool mix``: two recordings, and a manifest of which one row cannot be rendered."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.data import manifest
from septool.files import sha256_of
from tests.conftest import RATE, Command, voice


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.wav", tmp_path / "b.wav"
    for path, pitch in zip(paths, (100, 200), strict=True):
        audio.write_audio(path, voice(pitch, seconds=0.5), RATE)
    return paths


def test_two_recordings(septool: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = septool("mix", *pair, "-o", tmp_path / "mix.wav", "--sources", tmp_path / "voices", "--snr", 3)
    assert result.status == 0
    assert result.lines == [str(tmp_path / "mix.wav"), *(f"{tmp_path}/voices/mix_s{n}.wav" for n in (1, 2))]
    assert result.errors == []


def test_a_mixture_into_a_pipe_is_the_one_in_a_file(septool: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    septool("mix", *pair, "-o", tmp_path / "mix.wav", "--subtype", "FLOAT")
    assert audio.audio_info(tmp_path / "mix.wav").subtype == "FLOAT"
    result = septool("mix", *pair, "-o", "-", "--subtype", "FLOAT", "--sources", tmp_path / "voices")
    assert (result.status, result.errors) == (0, [])
    (tmp_path / "piped.wav").write_bytes(result.out)
    np.testing.assert_array_equal(
        audio.read_audio(tmp_path / "piped.wav")[0], audio.read_audio(tmp_path / "mix.wav")[0]
    )
    assert {path.name for path in (tmp_path / "voices").iterdir()} == {"mixture_s1.wav", "mixture_s2.wav"}


def test_averaged_channels_are_told(septool: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    audio.write_audio(pair[0], np.stack([voice(100, seconds=0.5)] * 2), RATE)
    told = septool("mix", *pair, "-o", tmp_path / "mix.wav").errors
    assert told == [f"septool: {pair[0]}: 2 channels were averaged to one"]


def test_where_no_row_can_be_rendered_there_is_no_manifest(septool: Command, tmp_path: Path) -> None:
    row = manifest.Mixture(id="a", sample_rate=RATE, sources=(manifest.Source(path="lost.wav"),))
    (tmp_path / "rows.jsonl").write_text(manifest.dump_manifest([row]))
    result = septool("mix", tmp_path / "rows.jsonl", "-o", tmp_path / "out", "-q")
    assert (result.status, result.out) == (1, b"")
    assert result.errors == [
        f"septool: none of the 1 rows of {tmp_path}/rows.jsonl could be rendered, whose paths start from {tmp_path}; "
        f"the first: a: {tmp_path}/lost.wav does not exist"
    ]
    assert not (tmp_path / "out/mixtures.jsonl").exists()


def test_scaling_is_told(septool: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    audio.write_audio(pair[0], voice(100, seconds=0.5) * 5, RATE)
    result = septool("mix", *pair, "-o", tmp_path / "mix.wav", "--snr", -20)
    assert result.errors[0].startswith("septool: everything was scaled by -")
    assert result.errors[0].endswith(" dB to stay below full scale")
    assert septool("mix", *pair, "-o", tmp_path / "mix.wav", "--snr", -20, "-q", "--force").errors == []


def test_json(septool: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = septool("mix", *pair, "-o", tmp_path / "mix.flac", "--json")
    assert json.loads(result.lines[0]) == {
        "id": "mix",
        "mixture": str(tmp_path / "mix.flac"),
        "sources": [],
        "seconds": 0.5,
        "scaled_db": 0.0,
        "findings": [],
    }


def test_nothing_is_replaced_without_force(septool: Command, pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    mine = tmp_path / "voices/mix_s2.wav"
    mine.write_text("mine")
    arguments = ("mix", *pair, "-o", tmp_path / "mix.wav", "--sources", tmp_path / "voices")
    result = septool(*arguments)
    assert result.status == 1
    assert result.errors == [f"septool: {mine} exists; use --force to replace it"]
    assert not (tmp_path / "mix.wav").exists()
    assert septool(*arguments, "--force").status == 0
    assert audio.audio_info(mine).frames == 4000


def test_a_recording_is_not_replaced_by_what_is_mixed_of_it(
    septool: Command, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    before = [path.read_bytes() for path in pair]
    own = tmp_path / "mix_s2.wav"
    own.write_bytes(before[1])
    for line in ((*pair, "-o", pair[0]), (pair[0], own, "-o", tmp_path / "mix.wav", "--sources", tmp_path)):
        result = septool("mix", *line, "--force")
        assert result.status == 2
        assert "would be written over while it is read; name another --out" in result.errors[-1]
    assert [path.read_bytes() for path in (*pair, own)] == [*before, before[1]]
    piped = tmp_path / "mixture_s1.wav"  # as the voices of an earlier one in a pipe are called
    piped.write_bytes(before[0])
    assert septool("mix", piped, pair[1], "-o", "-", "--sources", tmp_path, "--force").status == 2
    assert piped.read_bytes() == before[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{a}"], "mixing takes at least two files (or one manifest, a .jsonl)"),
        (["{a}", "{b}", "--snr", "1", "--snr", "2"], "2 files take one value of --snr, not 2"),
        (
            ["{a}", "{b}", "{a}", "--snr", "1", "--snr", "2", "--snr", "3"],
            "3 files take 2 values, or one",
        ),
        (["{rows}", "{a}"], "rows.jsonl is a manifest, which is rendered by itself; name no other file"),
        (["{a}", "{b}", "-o", "{out}.flac", "--subtype", "FLOAT"], "--subtype FLOAT takes a format with float samples"),
        (["{a}", "{b}", "--snr", "nan"], "--snr nan is not a level in dB"),
        (["{a}", "{b}", "-o", "{out}.doc"], "has the suffix '.doc'"),
        (["{a}", "{b}", "-o", "{out}"], "out names no format; give a file name that ends in .wav, say"),
        (["{a}", "{b}", "--subtype", "PCM_99"], "--subtype is 'PCM_99'; it can be PCM_16 or FLOAT"),
        (["{a}", "{b}", "-o", "-", "--json"], "--json and --out - would both write to standard output"),
        (["{rows}", "-o", "-"], "rows.jsonl is rendered to many files; name a folder with --out"),
        (["{rows}", "--snr", "20"], "rows.jsonl says itself how its rows are mixed; leave out --snr"),
        (["{rows}", "--mode", "max", "--sources", "x"], "leave out --mode, --sources"),
        (["{a}", "{b}", "--jobs", "2"], "--jobs is for the rows of a manifest; leave it out"),
        (["{a}", "{b}", "--cluster", "local:2"], "--cluster is for the rows of a manifest; leave it out"),
        (["{rows}", "--subtype", "PCM_99"], "--subtype is 'PCM_99'; it can be PCM_16 or FLOAT"),
    ],
)
def test_wrong_usage(
    septool: Command, pair: tuple[Path, Path], tmp_path: Path, arguments: list[str], said: str
) -> None:
    places = {"a": pair[0], "b": pair[1], "out": tmp_path / "out", "rows": tmp_path / "rows.jsonl"}
    result = septool("mix", "-o", tmp_path / "out.wav", *(argument.format(**places) for argument in arguments))
    assert result.status == 2
    assert len(result.errors) == 1
    assert said in result.errors[0]
    assert sorted(tmp_path.iterdir()) == list(pair)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(4000), "is silent, so it has no level to set"),
        (np.full(4000, np.nan), "holds non-finite samples (NaN or infinite)"),
        (
            np.outer((0.5, -0.5), np.sin(np.arange(4000))),
            "has channels that cancel each other, so it has no level to set",
        ),
    ],
)
def test_a_recording_without_a_level(
    septool: Command, pair: tuple[Path, Path], tmp_path: Path, samples: np.ndarray, said: str
) -> None:
    audio.write_audio(pair[1], samples.astype(np.float32), RATE, "FLOAT")
    result = septool("mix", *pair, "-o", tmp_path / "mix.wav")
    assert result.status == 1
    assert result.errors == [f"septool: {pair[1]} {said}"]


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.array((0.1, -0.2)), "is shorter than a sample at 8000 Hz"),
        (np.hanning(44100) * np.sin(2 * np.pi * 9000 * np.arange(44100) / 44100), "is silent at 8000 Hz"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_recording_of_which_another_rate_leaves_nothing(
    septool: Command, pair: tuple[Path, Path], tmp_path: Path, samples: np.ndarray, said: str, first: bool
) -> None:
    audio.write_audio(tmp_path / "c.wav", samples.astype(np.float32), 44100)
    inputs = (tmp_path / "c.wav", pair[0]) if first else (pair[0], tmp_path / "c.wav")
    result = septool("mix", *inputs, "-o", tmp_path / "mix.wav", "--sample-rate", 8000)
    assert result.status == 1
    assert result.errors == [f"septool: {tmp_path}/c.wav {said}, so it has no level to set"]


def test_a_row_that_cannot_be_rendered_does_not_stop_the_others(
    septool: Command, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    sources = (manifest.Source(path="a.wav"), manifest.Source(path="b.wav"))
    bad = (manifest.Source(path="a.wav"), manifest.Source(path="lost.wav"))
    rows = [
        manifest.Mixture(id=f"row{n}", sample_rate=RATE, sources=bad if n == 0 else sources, root=tmp_path)
        for n in range(3)
    ]
    (tmp_path / "rows.jsonl").write_text(manifest.dump_manifest(rows))
    result = septool("mix", tmp_path / "rows.jsonl", "-o", tmp_path / "out", "--json")
    assert result.status == 1
    said = f"row0: {tmp_path}/lost.wav does not exist"
    assert json.loads(result.lines[0]) == {
        "manifest": str(tmp_path / "out/mixtures.jsonl"),
        "sha256": sha256_of(tmp_path / "out/mixtures.jsonl"),
        "source_sha256": sha256_of(tmp_path / "rows.jsonl"),
        "failed": [said],
        "scaled_db": {},
    }
    record = json.loads((tmp_path / "out/rendered.json").read_text())
    assert record["manifest_sha256"] == sha256_of(tmp_path / "rows.jsonl")
    assert result.errors[-1] == f"septool: {said}"
    assert [row.id for row in manifest.read_manifest(tmp_path / "out/mixtures.jsonl")] == ["row1", "row2"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"mixtures.jsonl", "rendered.json"} | {
        f"row{n}{part}.wav" for n in (1, 2) for part in ("", "_s1", "_s2")
    }


def test_a_manifest_that_is_none(septool: Command, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert septool("mix", path, "-o", tmp_path).errors == [
        f"septool: {path} does not exist; septool prepare writes manifests"
    ]
    path.write_text('{"id": "x", "sources": [], "sample_rate": 8000}\n')
    result = septool("mix", path, "-o", tmp_path)
    assert result.status == 1
    assert result.errors == [f"septool: {path}, line 1: Mixture: sources is empty"]


def test_ctrl_c_ends_all_processes_and_leaves_only_whole_files(
    start: Callable[..., subprocess.Popen[bytes]], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    audio.write_audio(pair[0], voice(100, seconds=20), RATE)
    sources = (manifest.Source(path="a.wav", speed=1.03), manifest.Source(path="b.wav"))
    rows = [
        manifest.Mixture(id=f"row{n:03d}", sample_rate=16000, mode="max", sources=sources, root=tmp_path)
        for n in range(200)
    ]
    (tmp_path / "rows.jsonl").write_text(manifest.dump_manifest(rows))
    out = tmp_path / "out"
    process = start("mix", tmp_path / "rows.jsonl", "-o", out, "-j", 2, "-q", start_new_session=True)
    end = time.monotonic() + 60
    while not (out / "row003.wav").exists() and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and its workers
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.decode().splitlines() == ["septool: interrupted; what was finished is kept"]
    done = sorted(path.name for path in out.iterdir() if path.name != "rendered.json")
    assert 4 <= sum("_s" not in name for name in done) < 200
    assert not any(name.endswith(".partial") or name == "mixtures.jsonl" for name in done)
    assert all(audio.audio_info(out / name).frames == audio.audio_info(out / "row000.wav").frames for name in done)
