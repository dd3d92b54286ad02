"""Measures what every test costs and writes the long ones to tests/long.txt, so that the others are quick together.

``python -m tools.long_tests`` runs all tests but those marked slow or device, about ten minutes on two cores, and lists
those that take more than :data:`LONG_S` of processor time, their own and that of the processes they start. Tests on the
list get the marker ``long``; `pytest` alone leaves them out, `make long` and CI run them.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "long.txt"
LONG_S = 0.3
ALWAYS = ("tests/fuzz/",)  # damaged files of every kind are part of the quick tests, whatever they cost
TIMES = "TEST_TIMES"  # variable with the file that times are added to, by all processes of xdist
HEAD = "# Tests with the marker long. Written by `python -m tools.long_tests`.\n"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Add what a test has cost to the file of times."""
    before = os.times()
    result = yield
    spent = sum(os.times()[:4]) - sum(before[:4])
    if path := os.environ.get(TIMES):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{spent:.3f} {item.nodeid}\n")
    return result


def choose_long(times: str) -> list[str]:
    """Return the tests that take long of lines ``SECONDS TEST``, sorted."""
    rows = (line.partition(" ") for line in times.splitlines())
    return sorted({test for spent, _, test in rows if float(spent) > LONG_S and not test.startswith(ALWAYS)})


def main() -> int:
    """Measure, and write the list."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "times"
        arguments = ["-p", "tools.long_tests", "-q", "-m", "not slow and not device"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments], cwd=ROOT, env=os.environ | {TIMES: str(path)}, check=False
        )
        if done.returncode == 0:
            LIST.write_text(HEAD + "".join(f"{test}\n" for test in choose_long(path.read_text("utf-8"))), "utf-8")
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
