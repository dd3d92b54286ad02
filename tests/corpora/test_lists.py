"""The published lists that come with septool."""

import shutil
from pathlib import Path

import pytest

from septool.corpora import librimix, lists, wsj0mix
from septool.errors import ManifestError

ROWS = {
    "libri2mix_dev-clean.csv": 3000,
    "libri2mix_test-clean.csv": 3000,
    "libri2mix_train-clean-100.csv": 13_900,
    "libri3mix_dev-clean.csv": 3000,
    "libri3mix_test-clean.csv": 3000,
    "libri3mix_train-clean-100.csv": 9300,
}


@pytest.mark.parametrize("name", ROWS)
def test_the_lists_of_librimix(name: str) -> None:
    voices = int(name[5])
    rows = list(librimix.parse(lists.read_list(name), voices))
    assert len(rows) == len({row.id for row in rows}) == ROWS[name]
    sexes = lists.librispeech_sexes()
    for row in rows:
        assert row.id == "_".join(voice.path.stem for voice in row.voices)
        assert len({voice.speaker for voice in row.voices}) == voices
        assert {sexes[voice.speaker] for voice in row.voices} <= {"F", "M"}


@pytest.mark.parametrize(("split", "rows"), [("tr", 20_000), ("cv", 5000), ("tt", 3000)])
@pytest.mark.parametrize("voices", [2, 3])
def test_the_lists_of_wsj0_mix(voices: int, split: str, rows: int) -> None:
    mixtures = wsj0mix.read_list(voices, split)
    assert len({wsj0mix.name(mixture) for mixture in mixtures}) == len(mixtures) == rows
    places = {voice.key for mixture in mixtures for voice in mixture}
    assert {place[0] for place in places} == ({"si_dt_05", "si_et_05"} if split == "tt" else {"si_tr_s"})
    # The level is printed with five digits, as MATLAB does in the name.
    assert all(f"{float(voice.level):.5g}" == voice.level for mixture in mixtures for voice in mixture)


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = Path(lists.__file__).parent
    for name in ("SHA256SUMS", "wsj0_mix_2_spk_tt.txt.xz", "wsj0_mix_2_spk_cv.txt.xz"):
        shutil.copy(here / name, tmp_path)
    monkeypatch.setattr(lists.resources, "files", lambda _: tmp_path)
    return tmp_path


def test_a_list_that_is_not_the_published_one_is_refused(damaged: Path) -> None:
    shutil.copy(damaged / "wsj0_mix_2_spk_cv.txt.xz", damaged / "wsj0_mix_2_spk_tt.txt.xz")
    with pytest.raises(ManifestError, match=r"wsj0_mix_2_spk_tt\.txt is not what was published"):
        lists.read_list("wsj0_mix_2_spk_tt.txt")


def test_a_list_that_cannot_be_unpacked_is_refused(damaged: Path) -> None:
    (damaged / "wsj0_mix_2_spk_tt.txt.xz").write_bytes(b"not compressed")
    with pytest.raises(ManifestError, match=r"wsj0_mix_2_spk_tt\.txt cannot be read .* install septool again"):
        lists.read_list("wsj0_mix_2_spk_tt.txt")
    (damaged / "wsj0_mix_2_spk_tt.txt.xz").unlink()
    with pytest.raises(ManifestError, match="install septool again"):
        lists.read_list("wsj0_mix_2_spk_tt.txt")
