"""The validation sets that scores name are those in the repository."""

import pytest

from septool.catalogue import read_catalogue
from septool.files import sha256_of
from tests.conftest import ROOT

MEASURED = {
    name: entry.measured
    for name, entry in read_catalogue().items()
    if (ROOT / "benchmarks" / "sets" / f"{entry.measured.get('on')}.jsonl").exists()
}


@pytest.mark.parametrize("name", MEASURED)
def test_a_score_is_of_the_list_in_the_repository(name: str) -> None:
    measured = MEASURED[name]
    assert measured["manifest_sha256"] == sha256_of(ROOT / "benchmarks" / "sets" / f"{measured['on']}.jsonl")


def test_the_default_separator_is_among_them() -> None:
    assert "galr-small-8k" in MEASURED
