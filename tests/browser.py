"""A browser for the tests of pages: Chromium, the system's, the one that ``CHROMIUM`` names, or playwright's own."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser is led by pip install playwright")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with playwright.sync_playwright() as driver:
        try:
            running = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--mute-audio"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium starts: {str(error).splitlines()[0]}")
        yield running
        running.close()
