"""What holds for every corpus: recordings that are missing, damaged or at another rate, a stop, any path."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from septool import audio
from septool.corpora import CORPORA, librispeech, voxceleb1
from septool.data import manifest
from septool.data.mixing import render_mixture
from septool.errors import InterruptedBySignal
from septool.tasks.mix import mix_manifest
from septool.tasks.prepare import PreparedCorpus, prepare
from tests.corpora import toys
from tests.corpora.toys import recording, rendered

# The folder of each corpus below the toys, the folder of its noise, and how it is prepared.
SETTINGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "libri2mix": ("librimix/LibriSpeech", "librimix/wham_noise", {"split": "test", "mix": "both"}),
    "libri3mix": ("librimix/LibriSpeech", "librimix/wham_noise", {"split": "test", "mix": "both"}),
    "wsj0-2mix": ("wsj0/wsj0", "", {"split": "tt"}),
    "wsj0-3mix": ("wsj0/wsj0", "", {"split": "tt"}),
    "wham": ("wsj0/wsj0", "wsj0/wham_noise", {"split": "tt"}),
    "wsj0-music": ("overlay/wsj0-music", "overlay/clips", {"split": "tt", "sample_rate": 16000}),
    "aishell2-noise": ("overlay/aishell2-noise", "overlay/clips", {"sample_rate": 16000}),
    "librispeech-2mix": ("LibriSpeech", "", {"mixtures": 2}),
    "voxceleb1": ("VoxCeleb1", "", {}),
    "folder": (
        "VoxCeleb1/dev/wav",
        "",
        {"split": "train=1,dev=1", "mixtures": 2, "sources": 1, "minimum_seconds": 0.1},
    ),
}
ANY_RATE = ("aishell2-noise", "folder")  # were not published at one rate, or are yours
SPEAKERS, UTTERANCES = 2, 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All toys; not to be changed."""
    root = tmp_path_factory.mktemp("toys")
    toys.librimix(root / "librimix", 2)
    toys.wsj0(root / "wsj0", 2)
    toys.overlay(root / "overlay")
    toys.librispeech(root / "LibriSpeech", SPEAKERS, UTTERANCES)
    toys.voxceleb1(root / "VoxCeleb1")
    return root


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for subset in librispeech.RECORDINGS:
        monkeypatch.setitem(librispeech.RECORDINGS, subset, SPEAKERS * UTTERANCES)
    monkeypatch.setattr(voxceleb1, "RECORDINGS", {"dev": 4, "test": 4})
    monkeypatch.setattr(voxceleb1, "TRIALS", 4)


@pytest.fixture(params=SETTINGS)
def corpus(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def toy(corpus: str, whole: Path, tmp_path: Path) -> Path:
    """A copy of what the corpus needs."""
    for place in {place.split("/")[0] for place in SETTINGS[corpus][:2] if place}:
        shutil.copytree(whole / place, tmp_path / "toys" / place)
    return tmp_path / "toys"


def arguments(corpus: str, toy: Path) -> tuple[Path, dict[str, Any]]:
    folder, noise, settings = SETTINGS[corpus]
    settings = settings | ({"noise": toy / noise} if noise else {})
    if corpus.startswith("libri") and corpus.endswith("mix") and noise:
        settings["metadata"] = toy / f"librimix/metadata/Libri{corpus[5]}Mix"
    return toy / folder, settings


def made(corpus: str, toy: Path, out: Path, **more: Any) -> PreparedCorpus:
    source, settings = arguments(corpus, toy)
    return prepare(corpus, source, out=out, **settings | more)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def recordings(out: Path) -> set[Path]:
    """Return the recordings of first voices that the manifests name; further ones may be music."""
    rows = [row for path in out.glob("*.jsonl") for row in manifest.read_manifest(path)]
    return {row.locate(row.sources[0].path).resolve() for row in rows}


def test_every_corpus_is_tried_here() -> None:
    assert set(SETTINGS) == set(CORPORA)


@pytest.mark.parametrize("damage", ["missing", "corrupt", "rate"])
def test_a_recording_that_cannot_be_used_is_told_and_in_no_row(
    corpus: str, toy: Path, tmp_path: Path, damage: str
) -> None:
    before = made(corpus, toy, tmp_path / "before").manifests
    victim = min(recordings(tmp_path / "before"))
    match damage:
        case "missing":
            victim.unlink()
        case "corrupt":
            victim.write_bytes(b"no sound")
        case "rate":
            recording(victim, 24_000, rate=8000)
    found = made(corpus, toy, tmp_path / "after")
    after, told = found.manifests, found.left_out + found.damaged
    if damage == "rate" and corpus in ANY_RATE:
        rows = [row for one in after for row in manifest.read_manifest(Path(one.path))]
        uses = [row for row in rows if row.locate(row.sources[0].path).resolve() == victim]
        assert uses
        assert all(render_mixture(row).mixture.any() for row in uses)
        return
    assert recordings(tmp_path / "after")
    assert victim not in recordings(tmp_path / "after")
    if corpus not in ANY_RATE:  # of the others nobody knows which recordings there are
        assert sum(one.missing for one in after) > sum(one.missing for one in before)
    match damage:
        case "missing":
            published = {"librispeech-2mix": "has 7 of 8 usable recordings", "voxceleb1": "has 3 of the 4 recordings"}
            assert corpus in ANY_RATE or any(published.get(corpus, victim.name) in line for line in told)
        case "corrupt":
            assert sum(line.startswith(f"{victim} cannot be read as audio") for line in told) == 1
        case "rate":
            assert f"{victim} is 8000 Hz; the published recordings are 16000 Hz" in told


@pytest.mark.parametrize("corpus", ["libri2mix", "librispeech-2mix"])
def test_what_is_damaged_behind_a_good_header_is_found_by_decoding(corpus: str, toy: Path, tmp_path: Path) -> None:
    before = made(corpus, toy, tmp_path / "before")
    victim = min(recordings(tmp_path / "before"))
    content = bytearray(victim.read_bytes())
    half = len(content) // 2
    content[half : half + 20] = bytes(20)
    victim.write_bytes(content)
    after = made(corpus, toy, tmp_path / "after", verify=True)
    assert not before.damaged
    assert [line.split(": ")[0] for line in after.damaged] == [f"{victim} is damaged"]
    assert recordings(tmp_path / "before") - recordings(tmp_path / "after") >= {victim}
    assert sum(one.missing for one in after.manifests) > sum(one.missing for one in before.manifests)


def test_preparing_that_was_killed_goes_on_to_the_same_bytes(
    corpus: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = made(corpus, toy, tmp_path / "whole").manifests
    replaced: list[Path] = []
    replace = os.replace

    def killed(partial: Path, path: Path) -> None:
        if len(replaced) == len(prepared) - 1:  # the last file is written, but not in its place
            raise InterruptedBySignal("SIGKILL")
        replaced.append(path)
        replace(partial, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(InterruptedBySignal):
            made(corpus, toy, tmp_path / "stopped")
    assert len(contents(tmp_path / "stopped")) == len(prepared) - 1
    made(corpus, toy, tmp_path / "stopped")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_mixing_that_was_killed_goes_on_to_the_same_samples(
    corpus: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = made(corpus, toy, tmp_path / "out").manifests
    path = next(Path(one.path) for one in reversed(prepared) if one.kind != "trials")
    expected = rendered(path, tmp_path / "whole")
    write, left = audio.encode_audio, iter(range(3))

    def killed(*arguments: Any) -> None:
        if next(left, None) is None:
            raise InterruptedBySignal("SIGKILL")
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(audio, "encode_audio", killed)
        with pytest.raises(InterruptedBySignal):
            mix_manifest(path, out=tmp_path / "stopped")
    one = 1 + len(list((tmp_path / "whole").glob(f"{min(tmp_path.glob('whole/*.wav')).stem}_*.wav")))  # of a mixture
    assert len(list((tmp_path / "stopped").glob("*.wav"))) == 3 // one * one  # whole ones alone
    assert rendered(path, tmp_path / "stopped") == expected


def test_processes_and_the_way_a_path_is_written_change_no_byte(
    corpus: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(corpus, toy, toy / "out")
    expected = contents(toy / "out")
    assert b"\\" not in b"".join(expected.values())
    made(corpus, toy, toy / "out4", jobs=4)
    assert contents(toy / "out4") == expected
    monkeypatch.chdir(toy)
    made(corpus, Path("out/.."), Path("out4/../roundabout"))
    assert contents(toy / "roundabout") == expected
