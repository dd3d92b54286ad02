"""Extras that messages and pages name: each is spelled as in the package's metadata, as old versions of pip ask for."""

import re
import tomllib

from tests.conftest import ROOT


def test_every_extra_that_is_named_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    files = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("septool/**/*.py")]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    named = {extra.strip() for group in re.findall(r"septool\[([\w, -]+)\]", text) for extra in group.split(",")}
    assert named >= {"av", "mir-eval"}
    assert named <= {*extras}
    assert not [extra for extra in extras if "_" in extra]  # is a hyphen in the metadata
