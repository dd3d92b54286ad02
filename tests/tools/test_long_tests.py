"""The list of long tests: what gets onto it, and that what is on it is there."""

import pytest

from tests.conftest import UNFOUND
from tools import long_tests


def test_tests_are_long_by_what_they_cost() -> None:
    times = (
        "0.100 tests/a.py::test_x\n2.5 tests/a.py::test_y[1 2]\n9.000 tests/fuzz/b.py::test_z\n1.0 tests/a.py::test_v\n"
    )
    assert long_tests.choose_long(times) == ["tests/a.py::test_v", "tests/a.py::test_y[1 2]"]


def test_what_is_listed_is_there(pytestconfig: pytest.Config) -> None:
    listed = [line for line in long_tests.LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(listed) > 50
    gone = [test for test in listed if not (long_tests.ROOT / test.partition("::")[0]).exists()]
    # Of the files that are collected now, which are all of them in `make test`; single tests of a file do not tell.
    if not pytestconfig.getoption("lf", False) and not any("::" in path for path in pytestconfig.args):
        gone += pytestconfig.stash[UNFOUND]
    assert not gone, "renew the list with python -m tools.long_tests"
