"""The catalogue is written again as it was, but for what changed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomlkit

from septool import catalogue
from septool.config import build, read_toml
from tools.catalogue_file import write_catalogue

CATALOGUE = Path(__file__).parents[2] / "checkpoints.toml"


def entries(path: Path) -> dict[str, dict[str, Any]]:
    return {name: asdict(build(catalogue.Entry, values)) for name, values in read_toml(path).items()}


def test_nothing_changes_where_nothing_is_new(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.toml"
    path.write_bytes(CATALOGUE.read_bytes())
    write_catalogue(entries(path), path)
    assert path.read_bytes() == CATALOGUE.read_bytes()


def test_only_what_is_new_changes(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.toml"
    path.write_bytes(CATALOGUE.read_bytes())
    known = entries(path)
    known["galr-small-8k"] |= {"measured": {"si_snri": 12.5, "on": "dev-2mix"}, "default": False}
    known["new"] = known["sepformer-wsj02mix"] | {"sources": 0}
    write_catalogue(known, path)
    before, after = CATALOGUE.read_text().splitlines(), path.read_text().splitlines()
    assert [line for line in before if line.startswith("#")] == [line for line in after if line.startswith("#")]
    old = before[before.index("[galr-small-8k]") : before.index("[papez-small-8k]")]
    new = after[after.index("[galr-small-8k]") : after.index("[papez-small-8k]")]
    assert [line for line in old if not line.startswith(("measured", "default"))] == [
        line for line in new if not line.startswith("measured")
    ]
    assert 'measured = { si_snri = 12.5, on = "dev-2mix" }' in new
    assert entries(path) == known


def test_a_file_that_is_not_there_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.toml"
    known = entries(CATALOGUE)
    write_catalogue(known, path)
    assert entries(path) == known
    assert f'source = "{catalogue.OURS}"' not in path.read_text()
    assert tomlkit.parse(path.read_text()) == tomlkit.parse(CATALOGUE.read_text())
