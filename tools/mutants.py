"""Breaks the code on purpose, a line at a time, and writes to docs/mutants.md which test notices.

``python -m tools.mutants`` applies every fault of ``mutants.toml`` in a copy of the tree and runs the tests named
beside it, and where these notice nothing the fast tests of the whole room; a fault that none notices asks for a test.
``--keep FILE`` adds every outcome to a file as it comes and, run again, begins where that ends; ``--only TEXT`` takes
the faults whose module or line has the text, and writes no page; ``--check`` only looks whether every line that is to
be broken is still there. It runs one process at a time: about an hour.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAULTS = Path(__file__).with_name("mutants.toml")
PAGE = ROOT / "docs" / "mutants.md"
QUIETLY = ("-n0", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow and not device")
TIMEOUT = 900  # seconds at least until tests count as endless, which a fault may make them
ENDLESS_RATIO = 5  # to the time that the same tests take unbroken; less than that is a slow machine
ENDLESS, KILLED = 124, 137
CAUGHT = (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, ENDLESS, KILLED)  # interrupted: by an import
HEAVY = ("torch", "scipy.signal", "scipy.stats", "soundfile", "typer", "rich.console", "safetensors.torch", "jinja2")
USERS = {
    "batch": ("commands/test_separate.py", "commands/test_extract.py"),
    "data": ("tasks/test_mix.py", "training/test_data.py"),
    "inference": ("commands/test_separate.py", "commands/test_extract.py"),
    "losses": ("models/test_contract.py",),
    "metrics": ("tasks/test_evaluate.py",),
    "signal": ("inference", "data/test_mixing.py"),
}
HEAD = """# Faults that the tests notice

Written by `make mutants`: each line below is broken on purpose, one at a time, and the fast tests are run until one
fails. A fault that no test notices asks for a new one.
"""


class StaleError(Exception):
    """A fault whose line is gone, or is there more than once."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One line to be broken: ``old``, which is in the module once, becomes ``new``."""

    module: str  # below septool, with slashes and without suffix
    old: str
    new: str
    tests: tuple[str, ...]  # below tests; those that should notice

    @property
    def path(self) -> str:
        """The file, relative to the tree."""
        return f"septool/{self.module}.py"

    @property
    def more(self) -> tuple[str, ...]:
        """The tests that are run where those named notice nothing: of the room, and of the verbs that use it."""
        room, _, rest = self.module.partition("/")
        return (room if rest else f"test_{room}.py", *USERS.get(room, ()))

    def break_source(self, source: str) -> str:
        """Return the module's text with the fault in it.

        Raises:
            StaleError: the line is not there exactly once.
        """
        found = source.count(self.old)
        if found != 1:
            raise StaleError(f"{self.path} has {self.old!r} {found} times; mend it in {FAULTS.name}")
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class Outcome:
    """What became of a fault: the first test that failed, if one did."""

    fault: Fault
    test: str | None


def load_faults(path: Path = FAULTS) -> list[Fault]:
    """Read the list of faults: tables by module, each with its tests and its pairs of lines."""
    groups = tomllib.loads(path.read_text(encoding="utf-8"))["module"]
    return [
        Fault(module=group["name"], old=old, new=new, tests=tuple(group["tests"]))
        for group in groups
        for old, new in group["faults"]
    ]


def stale_faults(faults: Sequence[Fault], root: Path = ROOT) -> list[str]:
    """Return a line for every fault that no longer fits its module."""
    stale = []
    for fault in faults:
        try:
            fault.break_source((root / fault.path).read_text(encoding="utf-8"))
        except (StaleError, OSError) as error:
            stale.append(str(error))
    return stale


def copy_tree(target: Path) -> None:
    """Copy what git tracks, as it is now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


class FirstFailure:
    """A plugin of pytest that keeps which test failed first, or which module could not be imported."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.name = self.name or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.name = self.name or report.nodeid


def run_tests(tree: Path, tests: Sequence[str], timeout: float | None = None) -> tuple[int, str]:
    """Run tests of a tree up to the first that fails; return pytest's status and that test, if one did.

    They run in a fork of a process that has imported what takes longest, which is not what is broken.

    Raises:
        ValueError: none is named; pytest would run all there are.
    """
    if not tests:
        raise ValueError("there are no tests to run")
    context = multiprocessing.get_context("forkserver")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=run_in_fork, args=(tree, tests, sending))
    process.start()
    sending.close()
    with receiving:
        try:
            if not receiving.poll(timeout):
                return ENDLESS, "none ends"
            return receiving.recv()
        except EOFError:
            return KILLED, "the process dies"
        finally:
            end_session(process)


def end_session(process: BaseProcess) -> None:
    """Kill a process that runs tests and all that they started, and wait for it; it may end, or have ended, by itself.

    A process that looks alive may be gone a moment later, as it is the fork server that waits for it, and one that was
    started a moment ago is not yet in a session of its own. Neither has a group to kill.
    """
    if process.is_alive() and process.pid:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.join()


def run_in_fork(tree: Path, tests: Sequence[str], sending: Connection) -> None:
    """Run tests in a process of their own, quietly, and send their status and the first that failed."""
    os.setsid()
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    os.environ |= {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    with open(os.devnull, "w") as nothing:  # noqa: PTH123 (no file)
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    first = FirstFailure()
    paths = [str(tree / "tests" / test) for test in tests]
    status = pytest.main([*QUIETLY, *paths], plugins=[first])
    sending.send((int(status), first.name))


def read_outcomes(path: Path, faults: Sequence[Fault]) -> list[Outcome]:
    """Read what an earlier run has kept of these faults; of those that have changed since, nothing."""
    known = {(fault.module, fault.old, fault.new): fault for fault in faults}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return [
        Outcome(known[key], row["test"]) for row in rows if (key := (row["module"], row["old"], row["new"])) in known
    ]


def keep_outcome(path: Path, outcome: Outcome) -> None:
    """Add an outcome to those of this run."""
    fault = outcome.fault
    row = {"module": fault.module, "old": fault.old, "new": fault.new, "test": outcome.test}
    with path.open("a", encoding="utf-8") as file:
        print(json.dumps(row), file=file)


def write_source(path: Path, text: str) -> None:
    """Write a module, and forget what Python compiled of it: one of the same size and second would be taken for it."""
    path.write_text(text, encoding="utf-8")
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


@dataclass
class Unbroken:
    """The times that tests take without a fault, which the same tests with one are held to."""

    tree: Path
    seconds: dict[tuple[str, ...], float] = field(default_factory=dict)

    def timeout(self, tests: tuple[str, ...]) -> float:
        """Return after how many seconds tests are endless, and not slow; they run once for it."""
        if tests not in self.seconds:
            begin = time.monotonic()
            status, test = run_tests(self.tree, tests)
            if status:
                raise SystemExit(f"without any fault, {', '.join(tests)} end with status {status}: {test}")
            self.seconds[tests] = time.monotonic() - begin
        return max(TIMEOUT, ENDLESS_RATIO * self.seconds[tests])


def existing_tests(tree: Path, tests: Sequence[str]) -> tuple[str, ...]:
    """Return those of some tests that a tree has."""
    return tuple(test for test in tests if (tree / "tests" / test).exists())


def try_fault(tree: Path, fault: Fault, unbroken: Unbroken) -> Outcome:
    """Break a line of a tree, run the tests, and mend it."""
    path = tree / fault.path
    whole = path.read_text(encoding="utf-8")
    runs = [tests for names in (fault.tests, fault.more) if (tests := existing_tests(tree, names))]
    try:
        for tests in runs:
            timeout = unbroken.timeout(tests)
            write_source(path, fault.break_source(whole))
            status, test = run_tests(tree, tests, timeout)
            write_source(path, whole)
            if status in CAUGHT:
                return Outcome(fault, test)
            if status:
                raise SystemExit(f"{fault.path}: pytest ended with status {status}: {test}")
        return Outcome(fault, None)
    finally:
        write_source(path, whole)


def render_page(outcomes: Sequence[Outcome], faults: int) -> str:
    """Return docs/mutants.md: what became of the faults that were tried, of so many that there are."""
    caught = sum(outcome.test is not None for outcome in outcomes)
    untried = (
        f" {faults - len(outcomes)} more of `tools/mutants.toml` were not tried." if faults > len(outcomes) else ""
    )
    lines = [HEAD, f"{caught} of {len(outcomes)} are noticed.{untried}", ""]
    for module in dict.fromkeys(outcome.fault.module for outcome in outcomes):
        lines += [f"## `septool/{module}.py`", "", "| line | broken | noticed by |", "|---|---|---|"]
        for outcome in outcomes:
            if outcome.fault.module == module:
                old, new = (f"`{text.strip()}`".replace("|", "\\|") for text in (outcome.fault.old, outcome.fault.new))
                test = f"`{outcome.test.removeprefix('tests/')}`".replace("|", "\\|") if outcome.test else "**nothing**"
                lines.append(f"| {old} | {new} | {test} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Try the faults, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only look whether the lines are still there")
    parser.add_argument("--only", metavar="TEXT", help="faults whose module or line has TEXT; writes no page")
    parser.add_argument("--page", action="store_true", help="try nothing; write the page from what --keep FILE has")
    parser.add_argument("--keep", metavar="FILE", type=Path, help="add outcomes to FILE, and go on from those it has")
    options = parser.parse_args()
    faults = load_faults()
    if stale := stale_faults(faults):
        print("\n".join(stale), file=sys.stderr)
        return 1
    if options.check:
        return 0
    if options.only:
        faults = [fault for fault in faults if options.only in fault.module or options.only in fault.old]
    # The first of every module, then the second: a run that is cut short has seen them all.
    turns: Counter[str] = Counter()
    turn = {}
    for fault in faults:
        turn[fault] = turns[fault.module]
        turns[fault.module] += 1
    done = read_outcomes(options.keep, faults) if options.keep else []
    outcomes = {outcome.fault: outcome for outcome in done}
    multiprocessing.get_context("forkserver").set_forkserver_preload(["pytest", *HEAVY])
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        unbroken = Unbroken(tree)
        for number, fault in enumerate(sorted(faults, key=turn.__getitem__), 1):
            if fault in outcomes or options.page:
                continue
            outcomes[fault] = try_fault(tree, fault, unbroken)
            if options.keep:
                keep_outcome(options.keep, outcomes[fault])
            noticed = outcomes[fault].test or "NOTHING NOTICES"
            print(f"{number}/{len(faults)} {fault.module}: {fault.old.strip()[:60]} -> {noticed}", flush=True)
    if not options.only:
        PAGE.write_text(
            render_page([outcomes[fault] for fault in faults if fault in outcomes], len(faults)), encoding="utf-8"
        )
    return int(any(outcome.test is None for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
