"""Scripts are run as modules: by its path, a script imports the septool and the tools that are installed."""

import re

from tests.conftest import ROOT

TOLD = ("CONTRIBUTING.md", "Makefile", "checkpoints.toml", ".github/**/*.yml", "docs/**/*.md", "tests/long.txt")
CODE = ("benchmarks/**/*.py", "tests/**/*.py", "tools/**/*.py")
BY_PATH = re.compile(r"(?:python3?|\(PYTHON\)) (?:benchmarks|tests|tools)/")


def test_no_command_names_a_script_by_its_path() -> None:
    paths = {path for pattern in (*TOLD, *CODE) for path in ROOT.glob(pattern)}
    assert len(paths) > 200
    paths.discard(ROOT / "docs" / "log.md")  # commands as they were at the time
    by_path = sorted(str(path) for path in paths if BY_PATH.search(path.read_text(encoding="utf-8")))
    assert not by_path, "python -m tools.NAME runs what is in this tree"
