"""LibriMix: rows of the published lists, what is missing told, the same bytes everywhere."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from septool import audio
from septool.corpora import librimix
from septool.data import manifest
from septool.errors import InterruptedBySignal, ManifestError, SeptoolError, UsageError
from septool.files import sha256_of
from septool.tasks.mix import mix_manifest
from septool.tasks.prepare import prepare
from tests import librimix as reference
from tests.conftest import Command
from tests.corpora import toys
from tests.corpora.toys import recording, rendered

COUNT = 4  # mixtures of the toy, which are the first of the published test list
GOLDEN = {  # manifest, and the samples of all its files
    (2, "clean"): (
        "05f91bbe635f489c386ac5c91a67f1d6120315fd6898b8cc1396237b9dad436f",
        "3865540a8380a6f6f3068e6c23ec38d34a9d6795e9ed6aad6d9c92d5ab4df0d9",
    ),
    (2, "both"): (
        "5113cf8ea42ac23f8ecff8635bc48cb92ee1783556e0cf8e05f037ad91a1cbfa",
        "544ecfed946ba7de9d8852c50479ea06fe67616875e04116ef818a47d92c9640",
    ),
    (2, "single"): (
        "ea3af55b559de82a246ef66a0d574dc37f974951870c01bf54e8a8f68f9448f3",
        "57af5998e21d95748f32bf8077f1b58dcbc79b63ff77e3e612660d063491a36f",
    ),
    (3, "both"): (
        "f3f6854efd57ff9695eee18130e63cdbff093d650b4b60ae63b014dadd7595de",
        "209ca619a88638b54c48006ed32fe160ca64012e137c8edd401d35132ad476c6",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the first mixtures of both test lists need, and those rows as lists of one's own; not to be changed."""
    return toys.librimix(tmp_path_factory.mktemp("librimix"), COUNT)


@pytest.fixture
def toy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "toy")
    return tmp_path / "toy"


def arguments(toy: Path, voices: int, mix: str) -> dict[str, object]:
    noise = {} if mix == "clean" else {"noise": toy / "wham_noise"}
    return {"split": "test", "mix": mix, "metadata": toy / f"metadata/Libri{voices}Mix", **noise}


def made(toy: Path, out: Path, voices: int = 2, mix: str = "clean", **settings: object) -> Path:
    settings = arguments(toy, voices, mix) | settings
    found = prepare(f"libri{voices}mix", toy / "LibriSpeech", out=out, **settings)  # type: ignore[arg-type]
    prepared = found.manifests
    left_out = found.left_out
    assert left_out == []
    assert [(one.rows, one.missing) for one in prepared] == [(COUNT, 0)]
    return Path(prepared[0].path)


@pytest.mark.parametrize(("voices", "mix"), GOLDEN)
def test_the_manifest_and_the_samples_to_the_byte(toy: Path, tmp_path: Path, voices: int, mix: str) -> None:
    path = made(toy, toy / "out", voices, mix)
    assert path.name == f"test-libri{voices}mix-8k-min-{mix}.jsonl"
    assert (sha256_of(path), rendered(path, tmp_path / "wav")) == GOLDEN[voices, mix]


def test_any_number_of_processes_and_any_place_give_the_same_bytes(toy: Path, tmp_path: Path) -> None:
    shutil.move(toy, tmp_path / "elsewhere")
    path = made(tmp_path / "elsewhere", tmp_path / "elsewhere/out", mix="both", jobs=2)
    assert (sha256_of(path), rendered(path, tmp_path / "wav", jobs=2)) == GOLDEN[2, "both"]


def test_a_list_from_windows_means_the_same(toy: Path) -> None:
    path = toy / "metadata/Libri2Mix/libri2mix_test-clean.csv"
    head, *rows = path.read_text().splitlines()
    path.write_bytes("\r\n".join([head, *(row.replace("/", "\\") for row in rows), ""]).encode())
    assert sha256_of(made(toy, toy / "out")) == GOLDEN[2, "clean"][0]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_rows_say_what_the_list_says(toy: Path, mode: str, rate: int) -> None:
    path = made(toy, toy / "out", mix="both", mode=mode, sample_rate=rate)
    assert path.name == f"test-libri2mix-{rate // 1000}k-{mode}-both.jsonl"
    with (toy / "metadata/Libri2Mix/libri2mix_test-clean.csv").open() as file:
        listed = {line["mixture_ID"]: line for line in csv.DictReader(file)}
    for row in manifest.read_manifest(path):
        line = listed[row.id]
        assert (row.mode, row.sample_rate, row.split, row.rendering) == (mode, rate, "test", "librimix")
        for number, source in enumerate(row.sources, 1):
            assert source.path == f"../LibriSpeech/{line[f'source_{number}_path']}"
            assert 10 ** (source.gain_db / 20) == pytest.approx(float(line[f"source_{number}_gain"]), rel=1e-9)
            assert source.speaker == source.path.split("/")[3]
            assert source.gender in ("F", "M")
        lengths = [audio.audio_info(row.locate(source.path)).frames for source in row.sources]
        assert [source.frames for source in row.sources] == lengths
        assert row.frames == -(-(min if mode == "min" else max)(lengths) * rate // 16000)
        assert row.noise is not None
        assert row.noise.path == f"../wham_noise/{line['noise_path']}"
        assert row.noise.frames == max(lengths)


@pytest.mark.parametrize("mix", ["clean", "both", "single"])
@pytest.mark.parametrize("voices", [2, 3])
def test_mixtures_of_the_published_list_are_the_reference_generators(
    toy: Path, tmp_path: Path, voices: int, mix: str
) -> None:
    mix_manifest(made(toy, toy / "out", voices, mix), out=tmp_path / "wav")
    with (toy / f"metadata/Libri{voices}Mix/libri{voices}mix_test-clean.csv").open() as file:
        for line in csv.DictReader(file):
            speech = [
                (toy / "LibriSpeech" / line[f"source_{number}_path"], float(line[f"source_{number}_gain"]))
                for number in range(1, voices + 1)
            ]
            noise = (toy / "wham_noise" / line["noise_path"], float(line["noise_gain"])) if mix != "clean" else None
            expected = reference.generate(speech, noise, mix, "min", 8000, tmp_path / "scratch.wav")
            for name in ("mixture", "s1") + (("noise",) if noise else ()):
                stem = line["mixture_ID"] + ("" if name == "mixture" else f"_{name}")
                found, _ = soundfile.read(tmp_path / f"wav/{stem}.wav", dtype="int16")
                np.testing.assert_array_equal(found, expected[name])


def test_what_is_missing_is_told_and_the_rest_is_done(septool: Command, toy: Path, tmp_path: Path) -> None:
    rows = list(librimix.parse((toy / "metadata/Libri2Mix/libri2mix_test-clean.csv").read_text(), 2))
    lost, cut, slow, torn = (toy / "LibriSpeech" / row.voices[0].path for row in rows)
    shutil.rmtree(lost.parent.parent)
    recording(cut, 20_000, rate=8000)
    slow.write_bytes(b"not audio")
    command = ("prepare", "libri2mix", toy / "LibriSpeech", "-o", tmp_path / "out", "--split", "test")
    command += ("--metadata", toy / "metadata/Libri2Mix")
    result = septool(*command)
    assert result.status == 1
    assert result.errors == [
        f"septool: {lost.parent.parent} does not exist (1 files of it are needed)",
        *sorted(
            [
                f"septool: {cut} is 8000 Hz; the published recordings are 16000 Hz",
                f"septool: {slow} cannot be read as audio (Format not recognised); "
                "septool doctor lists the formats that can be read",
            ]
        ),
        "septool: 3 rows lack a recording",
    ]
    (path,) = (tmp_path / "out").iterdir()
    assert [row.sources[0].path.rsplit("/", 1)[-1] for row in manifest.read_manifest(path)] == [torn.name]
    assert result.lines[1].split()[2:4] == ["1", "3"]


def test_a_recording_that_is_torn_fails_in_mixing_alone(septool: Command, toy: Path, tmp_path: Path) -> None:
    path = made(toy, toy / "out")
    row = manifest.read_manifest(path)[1]
    torn = row.locate(row.sources[0].path)
    torn.write_bytes(torn.read_bytes()[:6000])
    result = septool("mix", path, "-o", tmp_path, "-q")
    assert result.status == 1
    assert result.errors[0].startswith(f"septool: {row.id}: ")
    assert torn.name in result.errors[0]
    assert len(manifest.read_manifest(tmp_path / "mixtures.jsonl")) == COUNT - 1


def test_without_any_recording_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "LibriSpeech").mkdir()
    with pytest.raises(SeptoolError, match=r"LibriSpeech lacks all .*test-clean does not exist \(2073 files"):
        prepare("libri2mix", tmp_path / "LibriSpeech", out=tmp_path / "out", split="test")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_hours_and_bytes(toy: Path, tmp_path: Path) -> None:
    settings = arguments(toy, 2, "both")
    (one,) = prepare("libri2mix", toy / "LibriSpeech", out=tmp_path / "out", dry_run=True, **settings).manifests  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    (again,) = prepare("libri2mix", toy / "LibriSpeech", out=tmp_path / "out", **settings).manifests  # type: ignore[arg-type]
    assert one == again
    path = Path(one.path)
    assert one.bytes == path.stat().st_size
    frames = [row.frames or 0 for row in manifest.read_manifest(path)]
    assert one.hours == pytest.approx(sum(frames) / 8000 / 3600)
    rendered(path, tmp_path / "wav")
    files = list((tmp_path / "wav").glob("*.wav"))
    assert len(files) == 4 * COUNT  # mixture, two voices, noise
    assert one.rendered_bytes == sum(file.stat().st_size - 44 for file in files)


def test_a_run_that_was_stopped_goes_on(toy: Path) -> None:
    path = made(toy, toy / "out")
    written = path.stat().st_mtime_ns
    made(toy, toy / "out")  # the same content: nothing to replace
    assert path.stat().st_mtime_ns == written
    path.write_text("another")
    with pytest.raises(SeptoolError, match="exists; use --force"):
        made(toy, toy / "out")
    made(toy, toy / "out", force=True)
    assert sha256_of(path) == GOLDEN[2, "clean"][0]


def test_mixing_that_was_killed_goes_on_to_the_same_samples(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(toy, toy / "out", mix="both")
    write, left = audio.encode_audio, iter(range(6))

    def killed(*arguments: Any) -> None:
        if next(left, None) is None:
            raise InterruptedBySignal("SIGKILL")
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(audio, "encode_audio", killed)
        with pytest.raises(InterruptedBySignal):
            mix_manifest(path, out=tmp_path / "wav")
    assert len(list((tmp_path / "wav").glob("*.wav"))) == 4  # one mixture with its parts, and nothing of the next
    assert rendered(path, tmp_path / "wav") == GOLDEN[2, "both"][1]


def test_noise_that_was_sped_up_and_is_not_there_is_the_original(toy: Path) -> None:
    path = toy / "metadata/Libri2Mix/libri2mix_test-clean.csv"
    path.write_text(path.read_text().replace(".wav,", "sp08.wav,", 2).replace("sp08.wav", "sp12.wav", 1))
    speeds = [row.noise.speed for row in manifest.read_manifest(made(toy, toy / "out", mix="both")) if row.noise]
    assert sorted(speeds) == [0.8, 1.0, 1.0, 1.2]
    for line in librimix.parse(path.read_text(), 2):
        recording(toy / "wham_noise" / line.noise.path, 20_000, channels=2)
    rows = manifest.read_manifest(made(toy, toy / "again", mix="both"))
    assert [row.noise.speed for row in rows if row.noise] == [1.0] * COUNT
    assert sum("sp" in row.noise.path.rsplit("/", 1)[-1] for row in rows if row.noise) == 2


def test_train_360_is_taken_from_the_metadata(toy: Path) -> None:
    folder = toy / "metadata/Libri2Mix"
    with pytest.raises(UsageError, match="names 'train-360'; there are train-100, dev, test"):
        made(toy, toy / "out", split="train-360")
    (folder / "libri2mix_test-clean.csv").rename(folder / "libri2mix_train-clean-360.csv")
    voices = manifest.read_manifest(made(toy, toy / "out", split="train-360"))[0].sources
    info = "mixture_ID,speaker_1_ID,speaker_1_sex,speaker_2_ID,speaker_2_sex\n"
    info += f"x,{voices[0].speaker}.0,X,{voices[1].speaker}.0,Y\n"
    (folder / "libri2mix_train-clean-360_info.csv").write_text(info)
    path = made(toy, toy / "again", split="train-360")
    assert path.name == "train-360-libri2mix-8k-min-clean.jsonl"
    assert [voice.gender for voice in manifest.read_manifest(path)[0].sources] == ["X", "Y"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mix": "both", "noise": None}, "--mix both has noise in it; give WHAM!'s with --noise"),
        ({"sample_rate": 44100}, "--sample-rate is 44100; here it can be 8000 or 16000"),
        ({"split": "test,tt"}, "--split 'test,tt' names 'tt'; there are train-100, dev, test"),
        ({"mixtures": 3}, "libri2mix does not take --mixtures; it takes --split, --sample-rate, --mode, --mix"),
        ({"seed": 0}, "libri2mix does not take --seed"),
    ],
)
def test_what_does_not_fit_is_wrong_usage(whole: Path, tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        made(whole, tmp_path / "out", **settings)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("source_2_gain", "gain_2", "the list of Libri2Mix has no column source_2_gain"),
        (".flac,0.", ".flac,x0.", "the list has the gain 'x0."),
        (".flac,0.", ".flac,-0.", "it has to be a number above 0"),
    ],
)
def test_a_list_that_is_damaged_is_refused(toy: Path, before: str, after: str, said: str) -> None:
    path = toy / "metadata/Libri2Mix/libri2mix_test-clean.csv"
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(ManifestError) as error:
        made(toy, toy / "out")
    assert said in str(error.value)


def test_metadata_without_a_list_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"has no libri2mix_\*\.csv"):
        made(whole, tmp_path / "out", metadata=tmp_path)
