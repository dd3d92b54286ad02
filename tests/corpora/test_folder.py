"""A folder of speech: the same tree gives the same manifests, and what cannot be used is listed."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.corpora.folder import assign_splits, find_utterances, utterances
from septool.data import manifest
from septool.data.mixing import render_mixture
from septool.errors import SeptoolError
from septool.files import sha256_of
from septool.tasks.prepare import prepare
from tests.conftest import RATE, voice

# Of the tree below; they change only if the meaning of a manifest changes, which CHANGELOG.md then says.
GOLDEN = {
    "dev-2mix.jsonl": "043c1f61a2b8089c81c0cd01c15988c04635ad5b1c17766d22bbaafd62c848cf",
    "dev-speech.jsonl": "42a4389ecf7368aeb37667cbf8c126e75aebf25c3d986126d538e300727f6879",
    "train-speech.jsonl": "8c52aeffc6b67c5845fc733c12b5b7a7dcc65dedc2c65c91e57f3995f793e97e",
}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Six speakers, and samples that are the same on every machine: whole numbers of a seeded generator."""
    for speaker in range(6):
        random = np.random.default_rng(speaker)
        for utterance, suffix in enumerate((".wav", ".flac")):
            path = tmp_path / "tree" / f"spk{speaker}" / "book" / f"{utterance}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = random.integers(-3000, 3000, RATE + 100 * utterance) / 2**15
            audio.write_audio(path, samples.astype(np.float32), RATE)
    return tmp_path / "tree"


SPLIT = "train=0.5,dev=0.5"


def sums(out: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted(out.iterdir())}


def test_the_manifests_to_the_byte(toy: Path, tmp_path: Path) -> None:
    prepared = prepare("folder", toy, out=tmp_path / "out", split=SPLIT, mixtures=5)
    assert prepared.left_out == prepared.damaged == []
    assert sums(tmp_path / "out") == GOLDEN
    assert {Path(one.path).name: one.sha256 for one in prepared.manifests} == GOLDEN


def test_any_number_of_processes_and_any_place_give_the_same_bytes(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "elsewhere/tree")
    prepare("folder", tmp_path / "elsewhere/tree", out=tmp_path / "elsewhere/out", split=SPLIT, mixtures=5, jobs=2)
    assert sums(tmp_path / "elsewhere/out") == GOLDEN


def test_a_link_on_the_way_leads_to_the_right_files(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far/away")
    prepare("folder", toy, out=tmp_path / "link/out", split=SPLIT, mixtures=2)
    for row in manifest.read_manifest(tmp_path / "link/out/dev-2mix.jsonl"):
        assert render_mixture(row).mixture.any()


def test_mixtures_are_of_different_speakers_at_set_levels(toy: Path, tmp_path: Path) -> None:
    prepare("folder", toy, out=tmp_path, split=SPLIT, mixtures=20, sources=3, difference_db=2.0)
    speech = manifest.read_manifest(tmp_path / "dev-speech.jsonl")
    rows = manifest.read_manifest(tmp_path / "dev-3mix.jsonl")
    assert [row.id for row in rows] == [f"dev{n:05d}" for n in range(20)]
    for row in rows:
        assert len({source.speaker for source in row.sources}) == 3
        levels = [10 * np.log10(np.mean(voice**2)) for voice in render_mixture(row).sources]
        assert levels[0] == pytest.approx(-25, abs=0.3)  # cut to the shortest, so not to the last digit
        assert max(abs(level - levels[0]) for level in levels) < 2.4
        assert {source.path for source in row.sources} <= {each.sources[0].path for each in speech}


def test_speakers_are_in_one_split_only(toy: Path, tmp_path: Path) -> None:
    prepare("folder", toy, out=tmp_path, split=SPLIT, mixtures=0)
    train, dev = (
        {row.sources[0].speaker for row in manifest.read_manifest(tmp_path / f"{name}-speech.jsonl")}
        for name in ("train", "dev")
    )
    assert len(train) == len(dev) == 3
    assert not train & dev


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_dealing_meets_the_shares_and_ignores_the_order(count: int) -> None:
    names = [f"s{n}" for n in range(count)]
    shares = {"train": 8.0, "dev": 1.0, "test": 1.0}
    splits = assign_splits(names, shares)
    assert splits == assign_splits(names[::-1], shares)
    assert splits.keys() == set(names)
    for split, share in shares.items():
        assert abs(list(splits.values()).count(split) - count * share / 10) <= 1
    assert count < 7 or splits != assign_splits(names, shares, seed=1)


def test_a_decomposed_name_is_dealt_as_it_is_composed_and_any_bytes_are() -> None:
    shares = {"train": 1.0, "dev": 1.0}
    composed, decomposed = (
        assign_splits([*(f"{letter}{number}" for number in range(20)), "a\udcff"], shares)
        for letter in ("\u00e9", "e\u0301")
    )
    assert composed == {unicodedata.normalize("NFC", name): split for name, split in decomposed.items()}


def test_what_cannot_be_used_is_listed_with_its_reason(toy: Path, tmp_path: Path) -> None:
    (toy / "spk0/text.wav").write_text("no sound")
    (toy / "spk0/empty.flac").touch()
    audio.write_audio(toy / "spk1/short.wav", voice(100, seconds=0.5), RATE)
    (toy / "spk2/notes.txt").write_text("not audio, not listed")
    audio.write_audio(toy / "loose.wav", voice(100), RATE)  # belongs to no speaker
    odd = toy / "spk3/caf\udce9.wav"
    shutil.copy(toy / "spk3/book/0.wav", odd)
    shutil.copytree(toy / "spk4", toy / "spk\udce9")
    prepared = prepare("folder", toy, out=tmp_path / "out", split="dev", mixtures=0)
    assert prepared.manifests[0].rows == 12
    assert prepared.damaged == [
        f"{toy}/spk0/empty.flac is empty",
        f"{toy}/spk0/text.wav cannot be read as audio (Format not recognised); "
        "septool doctor lists the formats that can be read",
    ]
    assert prepared.left_out == [
        f"{toy}/spk1/short.wav is shorter than 1 s, the least that --minimum-seconds allows",
        f"{odd} has a name that is not UTF-8",
        *(f"{toy}/spk\udce9/book/{name} has a name that is not UTF-8" for name in ("0.wav", "1.flac")),
    ]


def test_a_speaker_who_is_left_out_takes_no_part_in_the_shares(toy: Path, tmp_path: Path) -> None:
    def speakers() -> dict[str, set[str]]:
        rows, *_ = utterances(toy, tmp_path, {"train": 0.5, "dev": 0.5}, minimum_seconds=0.1, seed=0)
        return {
            split: {row.sources[0].speaker or "" for row in rows if row.split == split} for split in ("train", "dev")
        }

    before = speakers()
    shutil.copytree(toy / "spk4", toy / "\udcff")
    assert speakers() == before


def test_what_is_damaged_behind_a_good_header_is_found_by_decoding(toy: Path, tmp_path: Path) -> None:
    torn = toy / "spk1/book/1.flac"
    content = torn.read_bytes()
    torn.write_bytes(content[:6000] + bytes(20) + content[6020:])
    taken = prepare("folder", toy, out=tmp_path / "out", split="dev", mixtures=40, seed=1)
    assert [one.rows for one in taken.manifests] == [12, 40]
    verified = prepare("folder", toy, out=tmp_path / "verified", split="dev", mixtures=40, seed=1, verify=True)
    (line,) = verified.damaged
    assert line.startswith(f"{torn} is damaged: ")
    speech, mixtures = verified.manifests
    assert (speech.rows, speech.missing) == (11, 1)
    assert (mixtures.rows, mixtures.missing) == (40, 0)  # none was drawn with it, since its level could not be read
    assert "spk1/book/1.flac" not in "".join(path.read_text() for path in (tmp_path / "verified").iterdir())


def test_copies_in_another_format_are_one_utterance(toy: Path, tmp_path: Path) -> None:
    shutil.copy(toy / "spk0/book/0.wav", toy / "spk0/book/1.wav")  # beside 1.flac
    prepared = prepare("folder", toy, out=tmp_path / "out", split="dev", mixtures=0)
    assert prepared.manifests[0].rows == 12
    assert prepared.left_out == [f"{toy}/spk0/book/1.wav goes by the same name as 1.flac beside it"]
    assert len(manifest.read_manifest(Path(prepared.manifests[0].path))) == 12


def test_silent_and_damaged_utterances_are_in_no_fixed_mixture(toy: Path, tmp_path: Path) -> None:
    audio.write_audio(toy / "spk0/book/0.wav", np.zeros(RATE, dtype=np.float32), RATE)
    torn = toy / "spk1/book/1.flac"
    torn.write_bytes(torn.read_bytes()[:5000])
    audio.write_audio(toy / "spk2/book/0.wav", np.full(RATE, np.nan, dtype=np.float32), RATE, "FLOAT")
    prepared = prepare("folder", toy, out=tmp_path / "out", split="dev", mixtures=40)
    bad = {f"../tree/{place}" for place in ("spk0/book/0.wav", "spk2/book/0.wav")}
    assert set(prepared.left_out) == {f"{path} is silent or damaged; no fixed mixture uses it" for path in bad}
    assert prepared.damaged == [f"{torn} is cut off: its header says 1.0 s, 0.0 s are there"]
    used = {source.path for row in manifest.read_manifest(tmp_path / "out/dev-2mix.jsonl") for source in row.sources}
    assert len(used) == 9
    assert not used & {*bad, "../tree/spk1/book/1.flac"}


def test_speakers_are_the_first_folders(toy: Path) -> None:
    found = find_utterances(toy)
    assert list(found) == [f"spk{n}" for n in range(6)]
    assert [path.name for path in found["spk0"]] == ["0.wav", "1.flac"]
    with pytest.raises(SeptoolError, match="has no audio files in sub-folders"):
        find_utterances(toy / "spk0/book")
