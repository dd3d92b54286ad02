"""The page of quality: what is written is read again, the best comes first, neighbours are compared."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import RESULTS, is_measured, page, read_results, write_results
from septool import catalogue
from septool.scoring.items import Item
from septool.scoring.summary import Summary

SUMMARY = Summary("si-snri", "dB", sample_rate=8000, provenance={"manifest_sha256": "m", "model_sha256": "w"})


def results(folder: Path, model: str, name: str, mean: float, summary: Summary = SUMMARY) -> None:
    random = np.random.default_rng(0)
    keys = ("si-snri", "sdri", "pesq")
    items = [
        Item(str(n), {key: (mean + random.normal(0, 1, 2)).tolist() for key in keys}, order=(0, 1)) for n in range(20)
    ]
    write_results(folder / f"{name}.{model}.jsonl", model, name, [*items, Item("x", error="lost")], summary)


def test_the_page(tmp_path: Path) -> None:
    for model, mean in (("a-first", 5.0), ("b-best", 7.5), ("c-last", 2.0)):
        results(tmp_path, model, "dev-2mix", mean)
    lines = list(page(tmp_path))
    rows = [line for line in lines if line.startswith("| ")]
    assert rows[0].startswith("| checkpoint | items | failed | si-snri, dB | sdri, dB | pesq, MOS |")
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| b-best", "| a-first", "| c-last"]
    assert rows[1].split(" | ")[1:3] == ["21", "1"]
    (compared,) = [line for line in lines if line.startswith("b-best over a-first, si-snri: 2.50 dB (2.50 to 2.50)")]
    assert compared.endswith("20 items.")
    assert "## dev-2mix-far" not in lines


def test_a_set_and_its_longer_name_are_kept_apart_and_other_manifests_do_not_compare(tmp_path: Path) -> None:
    results(tmp_path, "a", "dev-2mix", 1.0)
    results(
        tmp_path,
        "b",
        "dev-2mix",
        2.0,
        Summary("si-snri", "dB", sample_rate=8000, provenance={"manifest_sha256": "other", "model_sha256": "w"}),
    )
    results(tmp_path, "a", "dev-2mix-far", 3.0)
    lines = list(page(tmp_path))
    assert sum(line.startswith("| a | ") for line in lines) == 2
    assert any("do not compare: the two results are of different manifests" in line for line in lines)


def test_numbers_are_rounded_and_nothing_else_is_lost(tmp_path: Path) -> None:
    item = Item("a", {"pesq": [1.23456, None]}, {"pesq": [None, "too short"]}, (1, 0))
    write_results(tmp_path / "r.jsonl", "m", "dev-2mix", [item], SUMMARY)
    header, (found,) = read_results(tmp_path / "r.jsonl")
    assert (header["items"], header["model_sha256"]) == (1, "w")
    assert (found.scores, found.reasons, found.order) == ({"pesq": [1.2346, None]}, item.reasons, (1, 0))
    assert found.provenance == {"manifest_sha256": "m"}


def test_a_result_of_other_weights_is_not_the_one(tmp_path: Path) -> None:
    path = tmp_path / "dev-2mix.a.jsonl"
    assert not is_measured(path, "w")
    results(tmp_path, "a", "dev-2mix", 1.0)
    assert is_measured(path, "w")
    assert not is_measured(path, "v")


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_results_are_of_the_weights_that_are_shipped(path: Path) -> None:
    header, _ = read_results(path)
    assert header["model_sha256"] == catalogue.read_catalogue()[header["model"]].sha256
