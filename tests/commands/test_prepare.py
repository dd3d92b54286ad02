"""``septool prepare``: what it prints and what it does not overwrite."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from septool.audio import write_audio
from septool.corpora import CORPORA
from septool.data import manifest
from septool.files import sha256_of
from tests.conftest import RATE, Command


def test_a_table_of_manifests(septool: Command, tree: Path, tmp_path: Path) -> None:
    result = septool("prepare", "folder", tree, "-o", tmp_path, "--split", "train=1,dev=1", "--mixtures", 3)
    assert result.status == 0
    assert result.errors == []
    assert " ".join(result.lines[0].split()) == "manifest split rows missing speakers hours MB rendered MB sha256"
    shown = [line.split() for line in result.lines]
    assert [row[0] for row in shown[1:]] == [
        str(tmp_path / f"{name}.jsonl") for name in ("train-speech", "dev-speech", "dev-2mix")
    ]
    assert [row[2:5] for row in shown[1:]] == [["4", "0", "2"], ["4", "0", "2"], ["3", "0", "2"]]
    assert [row[-1] for row in shown[1:]] == [sha256_of(Path(row[0]))[:12] for row in shown[1:]]


def test_json_lines_and_a_dry_run(septool: Command, tree: Path, tmp_path: Path) -> None:
    result = septool("prepare", "folder", tree, "-o", tmp_path / "data", "--split", "all", "--dry-run", "--json")
    assert result.status == 0
    speech, mixtures = map(json.loads, result.lines)
    assert (speech["kind"], speech["rows"], mixtures["kind"], mixtures["rows"]) == ("speech", 8, "mixtures", 200)
    assert not (tmp_path / "data").exists()


def test_nothing_is_replaced_without_force(septool: Command, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "all-speech.jsonl").write_text("mine")
    arguments = ("prepare", "folder", tree, "-o", tmp_path, "--split", "all", "--mixtures", 1)
    result = septool(*arguments)
    assert result.status == 1
    assert result.errors == [f"septool: {tmp_path}/all-speech.jsonl exists; use --force to replace it"]
    assert (tmp_path / "all-speech.jsonl").read_text() == "mine"
    assert septool(*arguments, "--force").status == 0
    assert len(manifest.read_manifest(tmp_path / "all-speech.jsonl")) == 8


def test_damaged_recordings_are_named_and_status_1(septool: Command, tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    shutil.copytree(tree, folder)
    (folder / "speaker0/bad.wav").write_text("no sound")
    cut = folder / "speaker1/cut.wav"
    write_audio(cut, np.full(2 * RATE, 0.1, dtype=np.float32), RATE)
    cut.write_bytes(cut.read_bytes()[: -2 * RATE])
    arguments = ("prepare", "folder", folder, "-o", tmp_path, "--split", "all", "--mixtures", 1)
    result = septool(*arguments)
    assert result.status == 1
    assert result.errors == [
        f"septool: {folder}/speaker0/bad.wav cannot be read as audio (Format not recognised); "
        "septool doctor lists the formats that can be read",
        f"septool: {cut} is cut off: its header says 2.0 s, 1.0 s are there",
        "septool: 2 recordings are damaged and left out",
    ]
    assert len(manifest.read_manifest(tmp_path / "all-speech.jsonl")) == 8
    assert septool(*arguments, "--force", "-q").errors == result.errors


def test_files_that_are_left_out_are_told(septool: Command, tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    shutil.copytree(tree, folder)
    short = folder / "speaker0/short.wav"
    write_audio(short, np.full(RATE // 2, 0.1, dtype=np.float32), RATE)
    arguments = ("prepare", "folder", folder, "-o", tmp_path, "--split", "all", "--mixtures", 1)
    result = septool(*arguments)
    assert result.status == 0
    assert result.errors == [
        f"septool: 1 file was left out; the first: {short} is shorter than 1 s, the least that --minimum-seconds allows"
    ]
    assert septool(*arguments, "--force", "-q").errors == []


@pytest.mark.parametrize("split", ["train=none", "=1", "train=0", "train=-1", "train=nan", "train=inf", ","])
def test_a_split_that_is_none_is_wrong_usage(septool: Command, tree: Path, tmp_path: Path, split: str) -> None:
    result = septool("prepare", "folder", tree, "-o", tmp_path, "--split", split)
    assert result.status == 2
    assert result.errors == [f"septool: --split {split!r} is not like train=0.9,dev=0.05,test=0.05"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split", "train=0.99,dev=0.01"], "split dev got no speakers; give it a larger share or drop it"),
        (["--split", "dev", "--sources", "5"], "4 speakers are too few for mixtures of 5; change --split"),
        (["--split", "dev", "--minimum-seconds", "9"], "split dev got no speakers"),
    ],
)
def test_too_little_of_something(septool: Command, tree: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    result = septool("prepare", "folder", tree, "-o", tmp_path, *arguments)
    assert result.status == 1
    assert result.errors[0].startswith(f"septool: {said}")
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_that_is_not_there(septool: Command, tmp_path: Path) -> None:
    result = septool("prepare", "folder", tmp_path / "nothing", "-o", tmp_path)
    assert result.status == 1
    assert result.errors[0].startswith(f"septool: {tmp_path}/nothing is not a directory")
    result = septool("prepare", "folder", tmp_path, "-o", tmp_path)
    assert result.status == 1
    assert "has no audio files in sub-folders; expected speaker/.../utterance.flac" in result.errors[0]


def test_the_list_says_what_where_and_under_which_licence(septool: Command) -> None:
    result = septool("prepare", "--list", "--json")
    assert result.status == 0
    rows = {row["corpus"]: row for row in map(json.loads, result.lines)}
    assert list(rows) == list(CORPORA)
    for row in rows.values():
        assert all(row.values())
        assert row.keys() == {"corpus", "about", "licence", "size", "expects", "options"}
    assert rows["wham"]["options"] == "--noise [--split] [--sample-rate 8000] [--mode min] [--mix both]"
    shown = septool("prepare", "--list").lines
    assert [line.split(":")[0] for line in shown if not line.startswith(" ")] == list(CORPORA)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "prepare takes a corpus and where it is; septool prepare --list shows all"),
        (("folder",), "missing argument 'source'; see septool prepare folder --help"),
        (("folder", ".", "--mix", "both"), "no such option: --mix; did you mean --mixtures?"),
        (("wsj0-2mix", ".", "--minimum-seconds", 2), "no such option: --minimum-seconds"),
        (("wsj0-music", "."), "missing option '--noise'; see septool prepare wsj0-music --help"),
    ],
)
def test_what_a_corpus_does_not_take_or_lacks_is_wrong_usage(
    septool: Command, arguments: tuple[object, ...], said: str
) -> None:
    result = septool("prepare", *arguments)
    assert result.status == 2
    assert result.errors[0].startswith(f"septool: {said}")
