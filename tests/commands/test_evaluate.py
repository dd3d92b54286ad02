"""``septool eval``: tables, lines and files; what cannot be scored is counted and listed."""

import json
from pathlib import Path

import numpy as np
import pytest

from septool import audio
from septool.tasks.prepare import prepare
from tests.conftest import RATE, Command, voice


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """References of two mixtures, and estimates at 20 dB."""
    true, found = tmp_path / "true", tmp_path / "found"
    random = np.random.default_rng(0)
    for folder in (true, found):
        folder.mkdir()
    for name in ("a", "b"):
        for n in (1, 2):
            reference = voice(100 * n, seconds=0.5, seed=n)
            noise = random.standard_normal(len(reference)).astype(np.float32)
            noise *= 0.1 * np.linalg.norm(reference) / np.linalg.norm(noise)
            audio.write(true / f"{name}_s{n}.wav", reference, RATE, "FLOAT")
            audio.write(found / f"{name}_s{n}.wav", reference + noise, RATE, "FLOAT")
    return true, found


def test_a_table(septool: Command, folders: tuple[Path, Path]) -> None:
    result = septool("eval", *folders, "--metric", "si-snr,stoi", "-q")
    assert result.status == 0
    assert result.errors == []
    header, snr, stoi = (line.split() for line in result.lines)
    assert header[:4] == ["metric", "unit", "mean", "95%"]
    assert header[-3:] == ["count", "undefined", "failed"]
    assert snr[:2] == ["si-snr", "dB"]
    assert float(snr[2]) == pytest.approx(20, abs=0.3)
    assert snr[-3:] == ["4", "0", "0"]
    assert stoi[0] == "stoi"


def test_json_lines_and_a_failed_item(septool: Command, folders: tuple[Path, Path]) -> None:
    (folders[1] / "b_s2.wav").unlink()
    result = septool("eval", *folders, "--metric", "si-snr", "--json", "-q")
    assert result.status == 1
    item, failed, summary = map(json.loads, result.lines)
    assert (item["id"], item["order"], len(item["si-snr"])) == ("a", [0, 1], 2)
    assert failed == {"id": "b", "error": f"{folders[1]} has no b_s2"}
    assert (summary["metric"], summary["count"], summary["failed"], summary["low"]) == ("si-snr", 2, 1, None)
    assert result.errors == [f"septool: b: {folders[1]} has no b_s2"]


def test_a_file_for_every_item_is_not_replaced_without_force(
    septool: Command, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    arguments = ("eval", *folders, "--metric", "si-snr", "-q", "-o", tmp_path / "new/items.csv")
    assert septool(*arguments).status == 0
    result = septool(*arguments)
    assert result.status == 1
    assert result.errors == [f"septool: {tmp_path}/new/items.csv exists; use --force to replace it"]
    assert septool(*arguments, "--force").status == 0


def test_a_model_on_a_manifest(septool: Command, tree: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    prepare("folder", tree, out=tmp_path, split="dev", mixtures=2)
    result = septool("eval", tmp_path / "dev-2mix.jsonl", "-m", tiny_checkpoint, "-d", "cpu", "--limit", 1)
    assert result.status == 0
    assert [line.split()[0] for line in result.lines[1:]] == ["si-snri", "sdri"]
    assert [line.split()[-3:] for line in result.lines[1:]] == [["2", "0", "0"]] * 2
    assert result.errors == ["septool: eval 1/1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{true}"], "give a folder of estimates or --model, one of the two"),
        (["{true}", "{found}", "-m", "papez"], "give a folder of estimates or --model, one of the two"),
        (["{true}", "-m", "papez"], "{true} is a folder of references; give the folder of estimates, or a manifest"),
        (["{true}", "{found}", "-o", "x.txt"], "--out x.txt has to end in .jsonl or .csv"),
        (["{true}", "{found}", "--metric", ","], "no metric was named; choose from si-snr, "),
        (["{true}", "{true}/nothing"], "{true}/nothing is not a folder"),
        (["{empty}", "{found}"], "{empty} has no files named like call_s1.wav, call_s2.wav"),
    ],
)
def test_wrong_usage(
    septool: Command, folders: tuple[Path, Path], tmp_path: Path, arguments: list[str], said: str
) -> None:
    places = {"true": folders[0], "found": folders[1], "empty": tmp_path / "empty"}
    places["empty"].mkdir()
    result = septool("eval", *(argument.format(**places) for argument in arguments))
    assert result.status == 2
    assert len(result.errors) == 1
    assert result.errors[0].startswith("septool: " + said.format(**places))
