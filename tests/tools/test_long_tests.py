"""The list of long tests: what gets onto it, and that what is on it is there."""

import re
from pathlib import Path

from tools import long_tests


def test_tests_are_long_by_what_they_cost() -> None:
    times = (
        "0.100 tests/a.py::test_x\n2.5 tests/a.py::test_y[1 2]\n9.000 tests/fuzz/b.py::test_z\n1.0 tests/a.py::test_v\n"
    )
    assert long_tests.choose_long(times) == ["tests/a.py::test_v", "tests/a.py::test_y[1 2]"]


def test_what_is_listed_is_there() -> None:
    listed = [line for line in long_tests.LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(listed) > 50
    gone = []
    for test in listed:
        path, _, name = test.partition("::")
        function = re.escape(name.partition("[")[0])
        file = Path(long_tests.ROOT / path)
        if not file.exists() or not re.search(rf"^def {function}\b", file.read_text(encoding="utf-8"), re.MULTILINE):
            gone.append(test)
    assert not gone, "renew the list with python tools/long_tests.py"
