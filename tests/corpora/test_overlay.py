"""Speech over music or noise, for which no list was published: drawn, at the level asked for, the same everywhere."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.corpora import CORPORA, base, overlay
from septool.data import manifest
from septool.data.mixing import render_mixture
from septool.errors import SeptoolError, UsageError
from septool.files import sha256_of
from septool.tasks.prepare import prepare
from tests.corpora import toys
from tests.corpora.toys import recording, rendered

GOLDEN = {  # manifest, and the samples of all its files
    "wsj0-music": (
        "bc0ea249427f89aaf8c0e63188e10c08bef273961c80c0ffe83ee94fd9e9be51",
        "b9a3b0596203cf6ed8f76fa906dae32fafcb06b748e37de4b73c2720eb920085",
    ),
    "aishell2-noise": (
        "2c93f8ef8e0f42b182c74a73467e9bc5fda8b3c9ed2e1c34abcf50116a5c6c25",
        "0a1255d8c1239a271fa4986345ad0322f13c7b258289b2d56e391e2f200bd4ad",
    ),
}
SPLIT = {"wsj0-music": "tt", "aishell2-noise": "test"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WSJ0's first utterances of the test list, some speakers of AISHELL-2, and twelve clips, one of them short."""
    return toys.overlay(tmp_path_factory.mktemp("overlay"))


@pytest.fixture
def toy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "toy")
    return tmp_path / "toy"


def made(corpus: str, toy: Path, out: Path, **settings: object) -> Path:
    # At the recordings' own rate nothing is resampled, and the samples are exact.
    settings = {"split": SPLIT[corpus], "sample_rate": 16000} | settings
    (one,) = prepare(corpus, toy / corpus, out=out, noise=toy / "clips", **settings).manifests  # type: ignore[arg-type]
    return Path(one.path)


@pytest.mark.parametrize("corpus", GOLDEN)
def test_the_manifest_and_the_samples_to_the_byte(toy: Path, tmp_path: Path, corpus: str) -> None:
    path = made(corpus, toy, toy / "out")
    assert (sha256_of(path), rendered(path, tmp_path / "wav")) == GOLDEN[corpus]


@pytest.mark.parametrize("corpus", GOLDEN)
def test_any_number_of_processes_and_any_place_give_the_same_bytes(toy: Path, tmp_path: Path, corpus: str) -> None:
    shutil.move(toy, tmp_path / "elsewhere")
    path = made(corpus, tmp_path / "elsewhere", tmp_path / "elsewhere/out", jobs=2)
    assert (sha256_of(path), rendered(path, tmp_path / "wav", jobs=2)) == GOLDEN[corpus]


def level_db(samples: np.ndarray) -> float:
    return 10 * math.log10(float(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize(("corpus", "snr"), [("wsj0-music", (0.0, 5.0)), ("aishell2-noise", (5.0, 20.0))])
def test_the_speech_stands_within_the_range(toy: Path, corpus: str, snr: tuple[float, float]) -> None:
    levels = []
    for row in manifest.read_manifest(made(corpus, toy, toy / "out")):
        result = render_mixture(row)
        other = result.noise if result.noise is not None else result.sources[1]
        levels.append(level_db(result.sources[0]) - level_db(other))
    assert min(levels) > snr[0] - 0.01
    assert max(levels) < snr[1] + 0.01
    assert max(levels) - min(levels) > 1


def test_a_range_of_ones_own_is_met(toy: Path) -> None:
    for row in manifest.read_manifest(made("aishell2-noise", toy, toy / "out", snr=(12.0, 12.0))):
        result = render_mixture(row)
        assert result.noise is not None
        assert level_db(result.sources[0]) - level_db(result.noise) == pytest.approx(12.0, abs=0.01)
    with pytest.raises(UsageError, match="--snr 5 1 is no range"):
        made("aishell2-noise", toy, toy / "again", snr=(5.0, 1.0))


def test_an_excerpt_lasts_as_long_as_the_speech_whatever_the_rates(toy: Path) -> None:
    for path in (toy / "clips").iterdir():
        recording(path, 4 * 44_100, rate=44_100, channels=2)
    for row in manifest.read_manifest(made("wsj0-music", toy, toy / "out", sample_rate=8000)):
        assert row.sources[1].frames == 1.5 * 44_100
        assert render_mixture(row).sources.shape == (2, 12_000)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000])
def test_hours_and_bytes_are_those_of_the_files(toy: Path, tmp_path: Path, rate: int) -> None:
    people = toy / "aishell2-noise/iOS/data/wav"
    recording(sorted(people.rglob("*.wav"))[0], 16_001)
    settings = {"noise": toy / "clips", "sample_rate": rate, "split": "test"}
    (one,) = prepare("aishell2-noise", toy / "aishell2-noise", out=toy / "out", **settings).manifests  # type: ignore[arg-type]
    rendered(Path(one.path), tmp_path)
    mixtures = [audio.audio_info(tmp_path / f"{row.id}.wav") for row in manifest.read_manifest(Path(one.path))]
    assert one.hours == pytest.approx(sum(about.frames for about in mixtures) / rate / 3600)
    assert one.rendered_bytes == sum(path.stat().st_size - 44 for path in tmp_path.glob("*.wav"))


def test_no_length_is_told_of_recordings_that_are_taken_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = manifest.Mixture(id="one", sources=(manifest.Source(path="one.wav"),), sample_rate=8000)
    found = base.PreparedRows([base.ManifestPart("list", "test", [row])])
    corpus = replace(CORPORA["folder"], prepare=lambda source, out, *, jobs: found)
    monkeypatch.setattr("septool.tasks.prepare.CORPORA", {"folder": corpus})
    (one,) = prepare("folder", tmp_path, out=tmp_path).manifests
    assert (one.hours, one.rendered_bytes) == (None, None)


def test_no_split_hears_anothers_clips_or_speakers(toy: Path) -> None:
    prepared = prepare("aishell2-noise", toy / "aishell2-noise", out=toy / "out", noise=toy / "clips").manifests
    rows = {one.split: manifest.read_manifest(Path(one.path)) for one in prepared}
    of_training = {row.sources[0].path for row in rows.pop("clips")}
    clips, people = (
        {split: {of(row) for row in part} for split, part in rows.items()}
        for of in (lambda row: row.noise.path, lambda row: row.sources[0].speaker)
    )
    assert not clips["train"] & clips["test"]
    assert clips["train"] <= of_training
    assert not of_training & clips["test"]
    assert not people["train"] & people["test"]
    assert len(people["train"]) + len(people["test"]) == 60


def test_the_enrollment_is_another_utterance_of_the_speaker(toy: Path) -> None:
    for row in manifest.read_manifest(made("aishell2-noise", toy, toy / "out")):
        assert row.enrollment is not None
        assert row.enrollment.path != row.sources[0].path
        assert row.enrollment.speaker == row.sources[0].speaker == row.enrollment.path.split("/")[-2]


def test_a_seed_of_ones_own_draws_otherwise(toy: Path) -> None:
    drawn = {made("wsj0-music", toy, toy / f"out{seed}", seed=seed).read_text() for seed in range(3)}
    assert len(drawn) == 3


def test_what_is_drawn_for_one_does_not_depend_on_the_others(toy: Path) -> None:
    before = manifest.read_manifest(made("wsj0-music", toy, toy / "out"))
    before[0].locate(before[0].sources[0].path).unlink()
    after = manifest.read_manifest(made("wsj0-music", toy, toy / "again"))
    assert [manifest.row_to_dict(row) for row in after] == [manifest.row_to_dict(row) for row in before[1:]]


def test_what_is_silent_or_damaged_is_left_out(toy: Path) -> None:
    speaker = toy / "aishell2-noise/iOS/data/wav"
    for path in sorted(speaker.rglob("*W0000.wav")):
        audio.write_audio(path, np.zeros(16_000, dtype=np.float32), 16000)
    (toy / "clips/bad.wav").write_text("no sound")
    found = prepare("aishell2-noise", toy / "aishell2-noise", out=toy / "out", noise=toy / "clips", split="test")
    (one,) = found.manifests
    left_out = found.left_out
    assert {Path(row.sources[0].path).stem[-4:] for row in manifest.read_manifest(Path(one.path))} == {"0001"}
    assert left_out[0] == (
        f"{toy}/clips/bad.wav cannot be read as audio (Format not recognised); "
        "septool doctor lists the formats that can be read"
    )
    assert {line.split(" ", 1)[1] for line in left_out[1:]} == {"is silent or damaged; no mixture uses it"}


def test_too_few_speakers_are_refused(toy: Path) -> None:
    for folder in sorted((toy / "aishell2-noise/iOS/data/wav").iterdir())[3:]:
        shutil.rmtree(folder)
    with pytest.raises(SeptoolError, match="split test got none of 3 speakers"):
        made("aishell2-noise", toy, toy / "out")


def test_too_few_clips_are_refused(toy: Path) -> None:
    for path in sorted((toy / "clips").iterdir())[1:]:
        path.unlink()
    with pytest.raises(SeptoolError, match="has 1 recordings, too few for a part in every split"):
        made("wsj0-music", toy, toy / "out")


def test_a_clip_whose_name_is_not_utf_8_is_left_out(tmp_path: Path) -> None:
    recording(tmp_path / "a.wav", 800)
    shutil.copy(tmp_path / "a.wav", tmp_path / "b\udce9.wav")
    dealt, left_out = overlay.find_clips(tmp_path, {"train": 1.0}, seed=0)
    assert [clip.path.name for clip in dealt["train"]] == ["a.wav"]
    assert left_out == [f"{tmp_path}/b\udce9.wav has a name that is not UTF-8"]
