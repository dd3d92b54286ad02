"""A browser for the tests of pages: Chromium, the system's, the one that ``CHROMIUM`` names, or playwright's own.

A program of that name that does not start, as in some containers, is none.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def find_program() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture
def show(tmp_path: Path) -> Callable[[str], str]:
    """What a browser makes of a page, as HTML: for pages that need nobody to lead it."""
    program = find_program() or pytest.skip("no Chromium is installed to look at the page with")
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]

    def run(address: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        line = [*command, "--window-size=1100,900", address]
        return subprocess.run(line, capture_output=True, check=check, text=True, timeout=120)

    if run("about:blank", check=False).returncode:
        pytest.skip(f"{program} does not start")
    return lambda address: run(address).stdout


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser is led by pip install playwright")
    program = find_program()
    with playwright.sync_playwright() as driver:
        try:
            running = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--mute-audio"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium starts: {str(error).splitlines()[0]}")
        yield running
        running.close()
