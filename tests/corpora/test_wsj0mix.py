"""WSJ0-2mix, WSJ0-3mix and WHAM!: the published lists over a toy WSJ0, however its files lie and are called."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from septool import audio
from septool.corpora import wsj0mix
from septool.data import manifest
from septool.data.mixing import render_mixture
from septool.errors import ManifestError, SeptoolError, UsageError
from septool.files import sha256_of
from septool.tasks.prepare import prepare
from tests.conftest import Command
from tests.corpora import toys
from tests.corpora.toys import rendered

COUNT = 3  # mixtures of the toy: the first of the published test list
GOLDEN = {  # manifest, and the samples of all its files
    "wsj0-2mix": (
        "2ee277873045cac6dd981024731a4714944afe6c63410684d5bcc750de9f19c7",
        "c0ed73ca47bd5f2545a457b750b539890e92fa06df6c7df907864fa4ebbbea79",
    ),
    "wsj0-3mix": (
        "ab731a477aec3ba8c1f7edffe6c3f53f027d9a4c32c6887d9ef6c77230f1929d",
        "15e168dd3367dc9fce133491330e1324053ab514107dc141ca50d17baab27027",
    ),
    "wham": (
        "75bf3550399c3d7932a0462372c8d39b82ac8fcdf595a05020f896a960e32464",
        "f69f5b111f55a9c14995df039e81eab901ac2bb01f07aa12e0e0296647f98823",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of the first mixtures of both test lists, and WHAM!'s noise for those of two."""
    return toys.wsj0(tmp_path_factory.mktemp("wsj0"), COUNT)


@pytest.fixture
def toy(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "toy")
    return tmp_path / "toy"


def made(corpus: str, toy: Path, out: Path, **settings: object) -> Path:
    """Prepare the test split, of which all but the first mixtures are missing."""
    settings = {"split": "tt"} | ({"noise": toy / "wham_noise"} if corpus == "wham" else {}) | settings
    (one,) = prepare(corpus, toy / "wsj0", out=out, **settings).manifests  # type: ignore[arg-type]
    assert one.rows == COUNT
    assert one.missing == (0 if corpus == "wham" else 3000 - COUNT)
    return Path(one.path)


@pytest.mark.parametrize("corpus", GOLDEN)
def test_the_manifest_and_the_samples_to_the_byte(toy: Path, tmp_path: Path, corpus: str) -> None:
    path = made(corpus, toy, toy / "out")
    assert path.name == {"wham": "tt-wham-8k-min-both.jsonl"}.get(corpus, f"tt-{corpus}-8k-min.jsonl")
    assert (sha256_of(path), rendered(path, tmp_path / "wav")) == GOLDEN[corpus]


@pytest.mark.parametrize("corpus", GOLDEN)
def test_any_number_of_processes_and_any_place_give_the_same_bytes(toy: Path, tmp_path: Path, corpus: str) -> None:
    shutil.move(toy, tmp_path / "elsewhere")
    path = made(corpus, tmp_path / "elsewhere", tmp_path / "elsewhere/out", jobs=2)
    assert (sha256_of(path), rendered(path, tmp_path / "wav", jobs=2)) == GOLDEN[corpus]


def test_names_are_the_original_scripts(toy: Path) -> None:
    rows = manifest.read_manifest(made("wsj0-2mix", toy, toy / "out"))
    assert [row.id for row in rows] == sorted(
        [
            "445c0206_0.60431_22gc0105_-0.60431",
            "420c020h_1.1139_442c0203_-1.1139",
            "22go0107_0.079969_051c010u_-0.079969",
        ]
    )
    (row,) = (row for row in rows if row.id.startswith("445"))
    assert [source.path for source in row.sources] == [
        "../wsj0/si_et_05/445/445c0206.wav",
        "../wsj0/si_dt_05/22g/22gc0105.wav",
    ]
    assert [(source.gain_db, source.speaker) for source in row.sources] == [(0.60431, "445"), (-0.60431, "22g")]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("corpus", GOLDEN)
def test_a_row_says_its_own_length(toy: Path, tmp_path: Path, corpus: str, mode: str, rate: int) -> None:
    path = made(corpus, toy, toy / "out", mode=mode, sample_rate=rate)
    for row in manifest.read_manifest(path):
        lengths = [audio.audio_info(row.locate(source.path)).frames for source in row.sources]
        expected = min(lengths) if mode == "min" else 40_000 if corpus == "wham" else max(lengths)
        assert row.frames == -(-expected * rate // 16000)
        assert len(render_mixture(row).mixture) == row.frames


def test_files_as_on_the_discs_are_found(toy: Path, tmp_path: Path) -> None:
    """SPHERE files, several discs, upper case; the second microphone and converted copies beside them."""
    discs = tmp_path / "discs"
    for path in (toy / "wsj0").rglob("*.wav"):
        folder, speaker, name = path.parts[-3:]
        place = discs / f"11-{len(speaker)}.1" / "WSJ0" / folder.upper() / speaker.upper()
        place.mkdir(parents=True, exist_ok=True)
        samples, rate = soundfile.read(path, dtype="int16")
        target = place / Path(name).with_suffix(".WV1").name.upper()
        soundfile.write(target, samples, rate, format="NIST", subtype="PCM_16")
        soundfile.write(target.with_suffix(".WV2"), samples // 3, rate, format="NIST", subtype="PCM_16")
    found = prepare("wsj0-2mix", discs, out=tmp_path / "out", split="tt")
    (one,) = found.manifests
    left_out = found.left_out
    assert one.rows == COUNT
    assert not any(".wv2" in line.lower() for line in left_out)
    assert rendered(Path(one.path), tmp_path / "wav") == GOLDEN["wsj0-2mix"][1]
    first = manifest.read_manifest(Path(one.path))[0].sources[0].path
    assert first.endswith(".WV1")
    shutil.copy(tmp_path / "out" / first, (tmp_path / "out" / first).with_suffix(".flac"))
    audio.write_audio((tmp_path / "out" / first).with_suffix(".flac"), np.zeros(20_000, dtype=np.float32), 16000)
    (one,) = prepare("wsj0-2mix", discs, out=tmp_path / "out", split="tt", force=True).manifests
    assert manifest.read_manifest(Path(one.path))[0].sources[0].path.endswith(".flac")  # a converted file goes before


def test_folders_that_are_links_are_followed_once(toy: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for folder in (toy / "wsj0").iterdir():
        (linked / folder.name).symlink_to(folder)
    (linked / "again").symlink_to(linked)
    assert len(wsj0mix.recordings(linked)) == len(wsj0mix.recordings(toy / "wsj0")) > 0


def test_a_folder_of_wsj0_is_not_wsj0(toy: Path) -> None:
    for folder in (toy / "wsj0").iterdir():
        with pytest.raises(SeptoolError, match=f"give the folder above {folder.name}"):
            wsj0mix.recordings(folder)


def test_what_is_missing_or_shortened_is_told(septool: Command, toy: Path, tmp_path: Path) -> None:
    lost, shortened, _ = (toy / "wsj0" / Path(*mixture[0].key) for mixture in wsj0mix.read_list(2, "tt")[:COUNT])
    lost.with_suffix(".wav").unlink()
    shortened.with_suffix(".wav").unlink()
    header = b"NIST_1A\n   1024\nsample_rate -i 16000\nsample_coding -s26 pcm,embedded-shorten-v1.09\nend_head\n"
    shortened.with_suffix(".wv1").write_bytes(header.ljust(1024) + bytes(100))
    result = septool("prepare", "wsj0-2mix", toy / "wsj0", "-o", tmp_path / "out", "--split", "tt")
    assert result.status == 1
    assert f"septool: {lost}.wav does not exist" in result.errors
    assert any(f"{shortened}.wv1 is compressed with shorten" in line for line in result.errors)
    # Whole folders of speakers are one line each.
    assert sum("files of it are needed" in line for line in result.errors) < 50
    assert result.errors[-1] == "septool: 2999 rows lack a recording"


def test_a_folder_without_wsj0_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeptoolError, match=r"lacks all recordings of wsj0-2mix: .*wsj0 does not exist"):
        prepare("wsj0-2mix", tmp_path, out=tmp_path / "out", split="tt")
    with pytest.raises(SeptoolError, match="is not a directory; give the folder that holds WSJ0's"):
        prepare("wsj0-2mix", tmp_path / "nothing", out=tmp_path / "out")


# WHAM!


def test_settings_are_the_metadatas(toy: Path) -> None:
    rows = {row.id: row for row in manifest.read_manifest(made("wham", toy, toy / "out"))}
    row = rows["420c020h_1.1139_442c0203_-1.1139"]
    assert row.noise is not None
    assert (row.noise.start, row.noise.path) == (2001, f"../wham_noise/tt/{row.id}.wav")
    gains = [source.gain_db for source in row.sources] + [row.voices_gain_db, row.noise.gain_db]
    np.testing.assert_allclose(gains, 20 * np.log10([1.1, 1.3, 0.93, 1.0]), atol=1e-9)


def test_one_voice_in_noise_and_two_without(toy: Path) -> None:
    single = manifest.read_manifest(made("wham", toy, toy / "out", mix="single"))[0]
    clean = manifest.read_manifest(made("wham", toy, toy / "out", mix="clean"))[0]
    assert (len(single.sources), single.noise is None) == (1, False)
    assert (len(clean.sources), clean.noise is None) == (2, True)
    np.testing.assert_array_equal(render_mixture(single).sources[0], render_mixture(clean).sources[0])
    with pytest.raises(UsageError, match="--mix clean has no noise"):
        made("wham", toy, toy / "out", mix="clean", mode="max")


def test_the_noise_has_to_be_given(toy: Path) -> None:
    with pytest.raises(UsageError, match=r"wham needs --noise; it expects .*wham_noise/metadata"):
        prepare("wham", toy / "wsj0", out=toy / "out")


def test_metadata_of_different_mixtures_are_refused(toy: Path) -> None:
    table = toy / "wham_noise/metadata/mix_param_meta_tt.csv"
    text = table.read_text()
    table.write_text(text.replace("1001", "1002"))
    with pytest.raises(ManifestError, match="are not of the same mixtures"):
        made("wham", toy, toy / "out")
    table.write_text(text.replace("445c0206", "445c0207"))
    with pytest.raises(ManifestError, match=r"names 445c0207.* which is no mixture of WSJ0-2mix"):
        made("wham", toy, toy / "out")
    table.write_text(text.replace("utterance_id", "name"))
    with pytest.raises(ManifestError, match=r"mix_param_meta_tt\.csv or scaling_tt\.npz beside it cannot be used"):
        made("wham", toy, toy / "out")


def test_an_archive_that_would_run_code_is_not_opened_that_way(toy: Path) -> None:
    archive = toy / "wham_noise/metadata/scaling_tt.npz"
    with np.load(archive, allow_pickle=True) as file:
        arrays: dict[str, Any] = dict(file)
    arrays["scaling_wsjmix_8k_min"] = np.array([[0.9, 0.7]] * 3, dtype=object)
    np.savez(archive, **arrays)
    with pytest.raises(ManifestError, match="cannot be used"):
        made("wham", toy, toy / "out")
