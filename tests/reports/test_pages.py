"""The check, before the work, that a page can be written."""

import sys
from pathlib import Path

import pytest

from septool.errors import SeptoolError, UsageError
from septool.reports.pages import check_html_report


def test_a_page_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "page.html"
    with pytest.raises(UsageError, match="has to end in"):
        check_html_report(tmp_path / "page.txt", force=False)
    check_html_report(there, force=False)
    there.touch()
    with pytest.raises(SeptoolError, match="exists; use --force") as refused:
        check_html_report(there, force=False)
    assert refused.value.status == 1  # as of any other file that is there
    check_html_report(there, force=True)
    monkeypatch.setitem(sys.modules, "matplotlib.image", None)
    with pytest.raises(UsageError, match=r"septool\[plot\]"):
        check_html_report(tmp_path / "other.html", force=False)
