"""The script that breaks the code on purpose: it says which lines are gone, and what a test noticed."""

import multiprocessing
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tools import mutants
from tools.mutants import TIMEOUT, Fault, Outcome, Unbroken

FAULT = Fault(module="signal/levels", old="a + b", new="a - b", tests=("signal/test_levels.py",))


@pytest.fixture
def forked() -> Iterator[BaseProcess]:
    """A process in the session of the tests, which would outlast them."""
    process = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(600,))
    process.start()
    yield process
    process.kill()
    process.join()


def test_a_fault_breaks_the_one_line_that_it_names() -> None:
    assert FAULT.break_source("x = a + b\ny = b + a\n") == "x = a - b\ny = b + a\n"


@pytest.mark.parametrize(("text", "times"), [("x = a * b\n", 0), ("x = a + b\ny = a + b\n", 2)])
def test_a_line_that_is_gone_or_there_twice_is_refused(tmp_path: Path, text: str, times: int) -> None:
    (tmp_path / "septool" / "signal").mkdir(parents=True)
    (tmp_path / "septool" / "signal" / "levels.py").write_text(text)
    (said,) = mutants.stale_faults([FAULT], tmp_path)
    assert said == f"septool/signal/levels.py has 'a + b' {times} times; mend it in mutants.toml"


@pytest.mark.parametrize(("line", "noticed"), [("a + b", False), ("a * b", True)])
def test_a_fault_is_noticed_by_the_test_that_fails_and_mended_after_it(
    tmp_path: Path, line: str, noticed: bool
) -> None:
    module, test = tmp_path / "septool" / "signal" / "levels.py", tmp_path / "tests" / "signal" / "test_levels.py"
    for path in (module, test):
        path.parent.mkdir(parents=True)
    module.write_text(f"a, b = 3, 0\nx = {line}\n")
    test.write_text(
        "import runpy\ndef test_x():\n    assert runpy.run_path('septool/signal/levels.py')['x'] == "
        f"{3 if not noticed else 0}\n"
    )
    fault = Fault(module="signal/levels", old=f"x = {line}", new="x = a - b", tests=("signal/test_levels.py",))
    unbroken = Unbroken(tmp_path, {("signal/test_levels.py",): 1.0, ("signal",): 1.0})
    assert mutants.try_fault(tmp_path, fault, unbroken).test == (
        "tests/signal/test_levels.py::test_x" if noticed else None
    )
    assert module.read_text() == f"a, b = 3, 0\nx = {line}\n"


def test_slow_tests_are_not_endless(tmp_path: Path) -> None:
    unbroken = Unbroken(tmp_path, {("quick.py",): 1.0, ("slow.py",): 600.0})
    assert unbroken.timeout(("quick.py",)) == TIMEOUT
    assert unbroken.timeout(("slow.py",)) == 3000.0


def test_a_process_that_has_no_session_yet_is_ended(forked: BaseProcess) -> None:
    mutants.end_session(forked)
    assert forked.exitcode == -signal.SIGKILL


def test_a_process_that_ends_while_it_is_looked_at_is_no_error(
    forked: BaseProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked.kill()
    forked.join()
    monkeypatch.setattr(forked, "is_alive", lambda: True)
    mutants.end_session(forked)


def test_no_tests_are_not_all_tests(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no tests to run"):
        mutants.run_tests(tmp_path, ())


@pytest.mark.parametrize(
    ("module", "more"), [("workers", ("test_workers.py",)), ("signal/levels", ("signal", *mutants.USERS["signal"]))]
)
def test_where_else_a_fault_may_be_noticed(module: str, more: tuple[str, ...]) -> None:
    assert Fault(module=module, old="a", new="b", tests=()).more == more


def test_the_page_shows_what_nothing_notices() -> None:
    page = mutants.render_page([Outcome(FAULT, "tests/signal/test_levels.py::test_x"), Outcome(FAULT, None)], 5)
    assert "1 of 2 are noticed. 3 more of `tools/mutants.toml` were not tried." in page
    assert "| `a + b` | `a - b` | `signal/test_levels.py::test_x` |" in page
    assert "| `a + b` | `a - b` | **nothing** |" in page
