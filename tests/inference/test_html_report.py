"""The HTML report: what it points to, and what its pictures show."""

import ntpath
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from septool import audio
from septool.errors import SeptoolError, UsageError
from septool.inference import html_report
from septool.inference.html_report import Entry, Track

RATE = 8000


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """One second of 1000 Hz, then one of 3000 Hz."""
    time = np.arange(RATE) / RATE
    path = tmp_path / "in & out" / "to ne#1.wav"
    path.parent.mkdir()
    audio.write_audio(path, np.concatenate([np.sin(2 * np.pi * pitch * time) for pitch in (1000, 3000)]) / 2, RATE)
    return path


def test_a_spectrogram_shows_which_frequency_is_when(tone: Path) -> None:
    levels = html_report.spectrogram(tone)
    assert levels.shape == (html_report.ROWS, html_report.COLUMNS)
    for column, pitch in ((100, 1000), (800, 3000)):
        assert levels[:, column].argmax() == pytest.approx(pitch / (RATE / 2) * html_report.ROWS, abs=1)
        assert levels[html_report.ROWS // 2, column] < levels[:, column].max() - 50


def test_a_short_recording_is_decoded_once(tone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MPEG is decoded from its beginning after every step back, and the columns of a short one overlap."""
    monkeypatch.setattr(audio.AudioFile, "seek", lambda *_: pytest.fail("goes back"))
    test_a_spectrogram_shows_which_frequency_is_when(tone)


def test_a_long_recording_is_never_whole_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 45 s the columns fall into place without a remainder, as they do at an hour."""
    audio.write_audio(tmp_path / "long.wav", np.full(45 * RATE, 0.1, dtype=np.float32), RATE)
    read, lengths = audio.AudioFile.read, list[int]()
    monkeypatch.setattr(audio.AudioFile, "read", lambda self, frames: (lengths.append(frames), read(self, frames))[1])
    html_report.spectrogram(tmp_path / "long.wav")
    assert len(lengths) == html_report.COLUMNS
    assert max(lengths) == 45 * RATE // html_report.COLUMNS


@pytest.mark.parametrize("announced", [0, 100 * RATE])
def test_a_picture_is_of_what_is_there_whatever_the_header_says(tone: Path, tmp_path: Path, announced: int) -> None:
    """A stream does not know its length when its header is written, and a file that is cut off had more."""
    expected = html_report.spectrogram(tone)
    samples, _ = audio.read_audio(tone)
    audio.write_audio(tmp_path / "stream.flac", samples[0], RATE)
    data = bytearray((tmp_path / "stream.flac").read_bytes())
    data[21:26] = bytes([data[21] & 0xF0 | announced >> 32]) + (announced % 2**32).to_bytes(4, "big")
    (tmp_path / "stream.flac").write_bytes(data)
    np.testing.assert_allclose(html_report.spectrogram(tmp_path / "stream.flac"), expected, atol=0.5)


@pytest.mark.parametrize("samples", [1, 200, 3000])
def test_short_recordings_have_pictures(tmp_path: Path, samples: int) -> None:
    audio.write_audio(tmp_path / "short.wav", np.full(samples, 0.1, dtype=np.float32), RATE)
    assert np.isfinite(html_report.spectrogram(tmp_path / "short.wav")).all()
    assert html_report.spectrogram_png(tmp_path / "short.wav").startswith(b"\x89PNG")


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


def test_a_page_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "page.html"
    with pytest.raises(UsageError, match="has to end in"):
        html_report.check_html_report(tmp_path / "page.txt", force=False)
    html_report.check_html_report(there, force=False)
    there.touch()
    with pytest.raises(SeptoolError, match="exists; use --force") as refused:
        html_report.check_html_report(there, force=False)
    assert refused.value.status == 1  # as of any other file that is there
    html_report.check_html_report(there, force=True)
    monkeypatch.setitem(sys.modules, "matplotlib.image", None)
    with pytest.raises(UsageError, match=r"septool\[plot\]"):
        html_report.check_html_report(tmp_path / "other.html", force=False)


def test_a_recording_on_another_drive_has_a_whole_address(
    tone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "relpath", lambda path, folder: ntpath.relpath(f"D:{path}", f"C:{folder}"))
    assert html_report._figure(Track("tone", tone), tmp_path).url == tone.as_uri()
