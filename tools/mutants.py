"""Breaks the code on purpose, a line at a time, and writes to docs/mutants.md which test notices.

``python tools/mutants.py`` applies every fault of ``mutants.toml`` in a copy of the tree and runs the tests named
beside it, and where these notice nothing the fast tests of the whole room; a fault that none notices asks for a test.
``--only TEXT`` takes the faults whose module or line has the text, and writes no page; ``--check`` only looks whether
every line that is to be broken is still there. Minutes of work: it runs one process at a time.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FAULTS = Path(__file__).with_name("mutants.toml")
PAGE = ROOT / "docs" / "mutants.md"
TIMEOUT = 900  # seconds; a fault may make a loop endless
FAILED, ENDLESS = 1, 124
USERS = {
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
        room = self.module.partition("/")[0]
        return (room, *USERS.get(room, ()))

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


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests of a tree up to the first that fails; return pytest's status and that test, if one did."""
    command = [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-rfE"]
    # A module of the same size and second as before would be taken from its compiled file.
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    paths = [str(tree / "tests" / test) for test in tests]
    try:
        done = subprocess.run(
            [*command, *paths], cwd=tree, env=environment, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return ENDLESS, "none ends"
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, flags=re.MULTILINE)
    return done.returncode, failed[1].split(" - ")[0] if failed else done.stdout[-2000:] + done.stderr[-2000:]


def try_fault(tree: Path, fault: Fault) -> Outcome:
    """Break a line of a tree, run the tests, and mend it."""
    path = tree / fault.path
    whole = path.read_text(encoding="utf-8")
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    path.write_text(fault.break_source(whole), encoding="utf-8")
    try:
        for tests in (fault.tests, fault.more):
            status, test = run_tests(tree, [test for test in tests if (tree / "tests" / test).exists()])
            if status in (FAILED, 2, ENDLESS):  # 2: a module that cannot even be imported
                return Outcome(fault, test)
            if status:
                raise SystemExit(f"{fault.path}: pytest ended with status {status}: {test}")
        return Outcome(fault, None)
    finally:
        path.write_text(whole, encoding="utf-8")


def render_page(outcomes: Sequence[Outcome]) -> str:
    """Return docs/mutants.md."""
    caught = sum(outcome.test is not None for outcome in outcomes)
    lines = [HEAD, f"{caught} of {len(outcomes)} are noticed.", ""]
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
    options = parser.parse_args()
    faults = load_faults()
    if stale := stale_faults(faults):
        print("\n".join(stale), file=sys.stderr)
        return 1
    if options.check:
        return 0
    if options.only:
        faults = [fault for fault in faults if options.only in fault.module or options.only in fault.old]
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        whole: set[tuple[str, ...]] = set()  # tests that pass without a fault
        for number, fault in enumerate(faults, 1):
            if fault.tests not in whole:
                status, test = run_tests(tree, fault.tests)
                if status:
                    raise SystemExit(f"without any fault, {', '.join(fault.tests)} end with status {status}: {test}")
                whole.add(fault.tests)
            outcomes.append(try_fault(tree, fault))
            told = outcomes[-1].test or "NOTHING NOTICES"
            print(f"{number}/{len(faults)} {fault.module}: {fault.old.strip()[:60]} -> {told}", flush=True)
    if not options.only:
        PAGE.write_text(render_page(outcomes), encoding="utf-8")
    return int(any(outcome.test is None for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
