"""The page in a browser: a real recording, a broken one and two at once, played, downloaded and removed."""

import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from septool import audio
from tests.conftest import ROOT

pytest.importorskip("starlette", reason='the page needs pip install "septool[serve]"')
pytest.importorskip("playwright.sync_api", reason="a browser is led by pip install playwright")
pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "examples" / "two-talkers.flac"
PATIENCE = 120_000  # ms, on a machine that has something else to do
TOKEN = "correct-horse-battery"


@pytest.fixture
def address(start: Callable[..., subprocess.Popen[bytes]]) -> str:
    server = start("serve", "--port", "0", "--device", "cpu", "--max-megabytes", "1", "--token", TOKEN)
    assert server.stdout is not None
    return server.stdout.readline().decode().strip()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1100, "height": 900})
    opened.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    opened.goto(address)
    yield opened
    opened.close()
    # What the policy of the page refuses, and what its script stumbles over, is told there.
    assert [each for each in complaints if "404" not in each] == []


def drop(page: Any, *paths: Path) -> None:
    """Let files fall on the page."""
    page.set_input_files("#files", [str(path) for path in paths])


def test_a_recording_is_separated_played_and_downloaded(page: Any, tmp_path: Path) -> None:
    assert TOKEN not in page.url
    drop(page, EXAMPLE)
    page.wait_for_selector(".player:visible")
    assert page.locator(".tracks .text").all_inner_texts() == ["Recording", "Voice 1", "Voice 2"]
    # Pictures are drawn: no canvas is of one colour.
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tracks canvas')].every((canvas) => new Set("
        "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size > 50)"
    )
    # Playing from where one clicks, then another voice at the same time.
    canvas = page.locator(".tracks canvas").nth(1)
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] / 2, "y": 10})
    seconds = audio.audio_info(EXAMPLE).frames / audio.audio_info(EXAMPLE).rate
    page.wait_for_function(f"() => Number(document.querySelector('.position').value) > {seconds / 2 + 0.2}")
    page.keyboard.press("3")
    assert page.locator(".tracks [aria-pressed=true]").inner_text() == "Voice 2"
    assert float(page.locator(".position").input_value()) >= seconds / 2
    page.wait_for_selector(".playing", state="detached")  # at the end
    with page.expect_download() as expected:
        page.locator(".downloads a").click()
    expected.value.save_as(tmp_path / "voices.zip")
    names = zipfile.ZipFile(tmp_path / "voices.zip").namelist()
    assert names == ["two-talkers_s1.wav", "two-talkers_s2.wav"]
    with page.expect_download() as expected:
        page.locator(".save").nth(1).click()
    assert expected.value.suggested_filename == "two-talkers_s1.wav"
    # It is there again after the page was loaded anew, until it is removed.
    page.reload()
    page.wait_for_selector(".player:visible")
    page.locator(".remove").click()
    assert page.locator(".job").count() == 0
    page.reload()
    assert page.locator(".job").count() == 0


def test_a_broken_recording_beside_two_good_ones(page: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF, but no more of it")
    second = tmp_path / "second.flac"
    shutil.copy(EXAMPLE, second)
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(1_100_000))
    drop(page, EXAMPLE, broken, second, large)
    page.wait_for_function("() => document.querySelectorAll('.player:not([hidden])').length === 2")
    failed = page.locator(".job .failed:visible")
    assert failed.count() == 1
    assert failed.inner_text().startswith("broken.wav")
    assert page.locator("#refusal").inner_text() == "large.wav has 1.1 MB, more than is taken here"
    # One is heard at a time.
    plays = page.locator(".player:visible .play")
    plays.nth(0).click()
    plays.nth(1).click()
    assert page.locator(".playing").count() == 1


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_sticks_out(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    drop(page, EXAMPLE)
    page.wait_for_selector(".player:visible")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_the_token_there_is_a_form_for_it(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(re.sub(r"\?.*", "", address))
    assert page.locator("#drop").count() == 0
    page.fill("#token", TOKEN)
    page.click("button")
    page.wait_for_selector("#drop")
    page.close()
