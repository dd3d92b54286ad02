"""The HTML report: what it points to, and what it says of recordings."""

import ntpath
import os
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from septool import audio
from septool.batch import html_report
from septool.batch.html_report import Entry, Track

RATE = 8000


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """Two seconds of 1000 Hz, under a name that an address has to escape."""
    path = tmp_path / "in & out" / "to ne#1.wav"
    path.parent.mkdir()
    audio.write_audio(path, np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE) / 2, RATE)
    return path


def test_the_page_points_to_the_files_from_where_it_lies(tone: Path, tmp_path: Path) -> None:
    html = tmp_path / "pages" / "new" / "page.html"
    entries = [Entry("<one>", tracks=[Track("recording", tone)]), Entry("bad.wav", "bad.wav is empty")]
    html_report.write_html_report(html, "A & B", entries)
    text = html.read_text(encoding="utf-8")
    (source,) = re.findall(r'<audio[^>]* src="([^"]+)"', text)
    assert (html.parent / unquote(source)).resolve() == tone.resolve()
    assert "<h2>&lt;one&gt;</h2>" in text
    assert "recording: 2.0 s, 8000 Hz" in text
    assert '<p class="failed">bad.wav is empty</p>' in text
    assert [path.name for path in html.parent.iterdir()] == ["page.html"]


def test_a_recording_that_is_gone_is_a_word_on_the_page(tone: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.wav"
    html_report.write_html_report(
        tmp_path / "page.html", "A", [Entry("one", tracks=[Track("gone", gone), Track("recording", tone)])]
    )
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f'<h2>one</h2>\n<p class="failed">{gone} does not exist</p>\n</section>' in text


def test_a_recording_on_another_drive_has_a_whole_address(
    tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "relpath", lambda path, folder: ntpath.relpath(f"D:{path}", f"C:{folder}"))
    assert html_report._figure(Track("tone", tone), tmp_path).url == tone.as_uri()
