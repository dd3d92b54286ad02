"""VoxCeleb1: its two splits and its trials, and what of them is missing."""

import shutil
from pathlib import Path

import pytest

from septool.corpora import voxceleb1
from septool.data import manifest, trials
from septool.errors import ManifestError, SeptoolError
from septool.files import sha256_of
from septool.tasks.prepare import prepare
from tests.conftest import Command
from tests.corpora import toys
from tests.corpora.toys import recording

GOLDEN = {
    "dev-voxceleb1-speech.jsonl": "2500b8b7fc327c2c1d191c566be41819fd9afb774faf3721544849a6401ee428",
    "test-voxceleb1-speech.jsonl": "ca58bcad17da1e5d36f1a405c456fc0e5dc448cb02ca833f64b4de2b0800ec5e",
    "test-voxceleb1-trials.txt": "3e43c78a86dc3a800991b52bdd4590979a838ae9aa586e8615244d43773c49a3",
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voxceleb1, "RECORDINGS", {"dev": 4, "test": 4})
    monkeypatch.setattr(voxceleb1, "TRIALS", 4)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return toys.voxceleb1(tmp_path / "VoxCeleb1")


def digests(out: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted(out.iterdir())}


@pytest.mark.parametrize("jobs", [1, 4])
def test_the_manifests_and_the_trials_to_the_byte(toy: Path, jobs: int) -> None:
    found = prepare("voxceleb1", toy, out=toy / "out", jobs=jobs)
    prepared = found.manifests
    left_out = found.left_out
    assert left_out == []
    assert [(one.kind, one.split, one.rows, one.missing, one.speakers) for one in prepared] == [
        ("speech", "dev", 4, 0, 2),
        ("speech", "test", 4, 0, 2),
        ("trials", "test", 4, 0, 2),
    ]
    assert digests(toy / "out") == GOLDEN


def test_the_trials_find_their_recordings(toy: Path) -> None:
    prepare("voxceleb1", toy, out=toy / "out")
    read = trials.read_trials(toy / "out/test-voxceleb1-trials.txt")
    assert [trial.same for trial in read] == [True, False, True, False]
    assert all(path.is_file() for trial in read for path in trial[1:])
    assert read[1].second.resolve() == (toy / "test/wav/id10309/aa/00001.wav").resolve()


@pytest.mark.parametrize("place", [".", "wav"])
def test_both_splits_in_one_folder(toy: Path, tmp_path: Path, place: str) -> None:
    root = tmp_path / "together"
    for split in ("dev", "test"):
        shutil.copytree(toy / split / "wav", root / place, dirs_exist_ok=True)
    found = prepare("voxceleb1", root, out=tmp_path / "out", metadata=toy)
    prepared = found.manifests
    left_out = found.left_out
    assert left_out == []
    assert [one.rows for one in prepared] == [4, 4, 4]
    speakers = [
        {row.sources[0].speaker for row in manifest.read_manifest(tmp_path / "out" / f"{split}-voxceleb1-speech.jsonl")}
        for split in ("dev", "test")
    ]
    assert speakers == [set(toys.DEV), set(toys.TEST)]


def test_one_split(toy: Path, tmp_path: Path) -> None:
    found = prepare("voxceleb1", toy, out=tmp_path / "out", split="dev")
    prepared = found.manifests
    left_out = found.left_out
    assert left_out == []
    assert [(one.kind, one.split) for one in prepared] == [("speech", "dev")]


def test_what_is_missing_is_told(septool: Command, toy: Path, tmp_path: Path) -> None:
    shutil.rmtree(toy / "dev/wav/id11251")
    corrupt, wrong = toy / "dev/wav/id10001/aa/00001.wav", toy / "test/wav/id10309/aa/00001.wav"
    corrupt.write_text("no sound")
    recording(wrong, 8000, rate=8000)
    result = septool("prepare", "voxceleb1", toy, "-o", tmp_path / "out")
    assert result.status == 1
    assert result.errors[0].startswith(f"septool: {corrupt} cannot be read as audio")
    assert result.errors[1:5] == [
        f"septool: {wrong} is 8000 Hz; the published recordings are 16000 Hz",
        f"septool: {toy} has 1 of the 4 recordings of dev",
        f"septool: {toy} has 3 of the 4 recordings of test",
        "septool: id10309/aa/00001.wav, which veri_test.txt names, is missing or cannot be used",
    ]
    assert len(trials.read_trials(tmp_path / "out/test-voxceleb1-trials.txt")) == 2


def test_without_the_list_of_trials(toy: Path, tmp_path: Path) -> None:
    (toy / "veri_test.txt").unlink()
    found = prepare("voxceleb1", toy, out=tmp_path / "out")
    prepared = found.manifests
    left_out = found.left_out
    assert [(one.kind, one.missing) for one in prepared] == [("speech", 0), ("speech", 0), ("trials", 4)]
    assert left_out == [
        f"{toy}/veri_test.txt does not exist; the authors of VoxCeleb offer it, --metadata says where it is"
    ]
    assert not (tmp_path / "out/test-voxceleb1-trials.txt").exists()


def test_a_damaged_list_and_another_folder(toy: Path, tmp_path: Path) -> None:
    (toy / "veri_test.txt").write_text("id10270/aa/00001.wav\n")
    with pytest.raises(ManifestError, match=r"veri_test\.txt, line 1: .* is no trial"):
        prepare("voxceleb1", toy, out=tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeptoolError, match="lacks all recordings of voxceleb1"):
        prepare("voxceleb1", tmp_path / "empty", out=tmp_path / "out")
