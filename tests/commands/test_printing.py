"""Tables that a pipe does not cut, numbers that JSON has, progress off a terminal."""

import json

import pytest

from septool.commands import printing


def test_a_table_in_a_pipe_is_as_wide_as_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a/very/long/path/" * 20
    printing.table(["path", "dB", "note"], [[long, 1.234, None], ["b", float("nan"), "x"]])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["path", "dB", "note"]
    assert first.split() == [long, "1.23", "-"]
    assert second.split() == ["b", "-", "x"]
    assert first.index("1.23") + 4 == second.index(" -") + 2  # numbers end in one column


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    printing.table(["a", "b"], [])
    assert capsys.readouterr().out.split() == ["a", "b"]


def test_numbers_that_json_does_not_have_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    printing.json_line({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (float("-inf"), "x")}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": {"d": [None, "x"]}}


def test_off_a_terminal_progress_is_a_line_for_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with printing.Bar("work", quiet=False) as bar:
        for done in range(1, 101):
            bar.update(done, 100, "going")
        bar.say("said")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [*(f"septool: work {n}/100 going" for n in range(10, 101, 10)), "septool: said"]


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with printing.Bar("work", quiet=True) as bar:
        bar.update(1, 1)
        bar.say("said")
    assert capsys.readouterr() == ("", "")
