"""The same files through every verb, whole and damaged: none disagrees with the others about what a file holds."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import soundfile

from septool import audio
from septool.data import manifest
from septool.errors import AudioError
from septool.scoring.file_estimates import pair_files
from septool.tasks.mix import mix_files
from septool.tasks.prepare import prepare
from tests.conftest import Command, voice, write

RATE = 8000
SECONDS = 1.5
KINDS = [
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "PCM_U8"),
    ("wav", "WAV", "PCM_24"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAV", "DOUBLE"),
    ("wav", "WAV", "ULAW"),
    ("wav", "WAV", "ALAW"),
    ("wav", "WAV", "IMA_ADPCM"),
    ("wav", "WAV", "MS_ADPCM"),
    ("wav", "WAVEX", "PCM_16"),
    ("wav", "RF64", "PCM_16"),
    ("w64", "W64", "PCM_24"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "PCM_16"),
    ("au", "AU", "ULAW"),
    ("caf", "CAF", "PCM_16"),
    ("sph", "NIST", "PCM_16"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
]
DAMAGE = {
    "whole": lambda data: data,
    "cut": lambda data: data[: len(data) * 2 // 3],
    "zeros": lambda data: data[: len(data) * 2 // 3] + bytes(40) + data[len(data) * 2 // 3 + 40 :],
}


class Held(NamedTuple):
    """What a file holds; ``frames`` is None where it cannot be read, and is at the file's own rate."""

    frames: int | None
    rate: int = 0
    is_partial: bool = False


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Held]:
    """Every file, a folder each, and what decoding it to its end gives."""
    folder = tmp_path_factory.mktemp("files")
    held = {}
    for number, (suffix, kind, subtype) in enumerate(KINDS):
        whole = io.BytesIO()
        soundfile.write(whole, voice(110 + number, seconds=SECONDS, seed=number), RATE, format=kind, subtype=subtype)
        for name, damage in DAMAGE.items():
            path = folder / f"{kind}-{subtype}-{name}" / f"x.{suffix}"
            path.parent.mkdir()
            path.write_bytes(damage(whole.getvalue()))
            held[path] = decoded(path)
    return held


def decoded(path: Path) -> Held:
    try:
        with audio.open_audio(path) as file:
            frames = file.read().shape[1]
            return Held(frames or None, file.rate, any(finding.is_partial for finding in file.findings))
    except AudioError:
        return Held(None)


def test_there_is_something_to_disagree_about(files: dict[Path, Held]) -> None:
    assert len(files) == 63
    assert sum(held.is_partial for held in files.values()) > 20
    for path, held in files.items():
        if path.parent.name.endswith("-whole"):
            assert not held.is_partial
            assert held.frames is not None
            padded = held.rate * (0.06 if "ADPCM" in path.parent.name else 0.001)  # to whole blocks
            assert 0 <= held.frames - SECONDS * held.rate <= padded, path


def test_prepare(files: dict[Path, Held], tmp_path: Path) -> None:
    folder = next(iter(files)).parent.parent
    found = prepare("folder", folder, out=tmp_path, split="all", mixtures=0, minimum_seconds=0, verify=True)
    rows = manifest.read_manifest(tmp_path / "all-speech.jsonl")
    taken = {row.locate(row.sources[0].path).resolve(): row for row in rows}
    whole = {path: held for path, held in files.items() if held.frames and not held.is_partial}
    assert {path: row.sources[0].frames for path, row in taken.items()} == {
        path: held.frames for path, held in whole.items()
    }
    assert len(found.damaged) == len(files) - len(whole)


@pytest.fixture(params=["separate", "extract"])
def results(
    request: pytest.FixtureRequest,
    septool: Command,
    tiny_checkpoint: Path,
    tiny_extractor: Path,
    files: dict[Path, Held],
    tmp_path: Path,
) -> Iterator[dict[Path, dict[str, object]]]:
    """What the JSON of a verb says of every file that it could work with."""
    known = write(tmp_path / "known.wav", voice(110))
    verb = request.param
    model = ("-m", tiny_checkpoint) if verb == "separate" else ("-m", tiny_extractor, "--reference", known)
    folder = next(iter(files)).parent.parent
    result = septool(verb, folder, *model, "-d", "cpu", "-o", tmp_path / "out", "--json", "-j", 1)
    rows = [json.loads(line) for line in result.lines]
    yield {Path(row["input"]): row for row in rows if "error" not in row}
    failed = [path for path, held in files.items() if held.frames is None]
    assert result.status == (1 if failed else 0)
    for path in failed:
        assert any(str(path) in line for line in result.errors)


def test_separate_and_extract(files: dict[Path, Held], results: dict[Path, dict[str, object]]) -> None:
    assert results.keys() == {path for path, held in files.items() if held.frames}
    for path, row in results.items():
        findings = row["findings"]
        assert isinstance(findings, list)
        assert any(finding["is_partial"] for finding in findings) == files[path].is_partial, path
        outputs = row.get("outputs") or [row["output"]]
        assert isinstance(outputs, list)
        assert {audio.audio_info(Path(str(output))).frames for output in outputs} == {files[path].frames}, path


def test_mix(files: dict[Path, Held], tmp_path: Path) -> None:
    other = write(tmp_path / "other.wav", voice(200, seconds=0.05))
    for number, (path, held) in enumerate(files.items()):
        told: list[str] = []
        try:
            mixed = mix_files([path, other], out=tmp_path / f"{number}.wav", mode="max", report=told.append)
        except AudioError:
            assert held.frames is None, path
            continue
        assert audio.audio_info(Path(mixed.mixture)).frames == held.frames
        assert any("is cut off" in line or "is damaged" in line or "has no end" in line for line in told) == (
            held.is_partial
        ), path


def test_mix_of_a_manifest(files: dict[Path, Held], septool: Command, tmp_path: Path) -> None:
    def row(path: Path, held: Held) -> manifest.Mixture:
        source = manifest.Source(path=path.as_posix())
        return manifest.Mixture(id=path.parent.name, sample_rate=held.rate or RATE, sources=(source,), root=tmp_path)

    rows = tmp_path / "rows.jsonl"
    rows.write_text(manifest.dump_manifest([row(path, held) for path, held in files.items()]))
    septool("mix", rows, "-o", tmp_path / "out")
    rendered = {each.id: each.frames for each in manifest.read_manifest(tmp_path / "out/mixtures.jsonl")}
    assert rendered == {
        path.parent.name: held.frames for path, held in files.items() if held.frames and not held.is_partial
    }


def test_eval(files: dict[Path, Held]) -> None:
    for path, held in files.items():
        is_whole = held.frames is not None and not held.is_partial
        try:
            job = pair_files(path, path)
            (signals,) = map(job.load, job.tasks(()))
        except AudioError:
            assert not is_whole, path
            continue
        assert is_whole, path
        assert [len(each) for each in signals.estimates] == [held.frames], path
