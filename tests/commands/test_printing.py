"""Tables that a pipe does not cut, numbers that JSON has, progress off a terminal."""

import itertools
import json
import sys
import time
from pathlib import Path

import pytest

from septool.commands import printing
from tests.conftest import Command


def test_a_table_in_a_pipe_is_as_wide_as_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a/very/long/path/" * 20
    printing.table(["path", "dB", "note"], [[long, 1.234, None], ["b", float("nan"), "x"]])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["path", "dB", "note"]
    assert first.split() == [long, "1.23", "-"]
    assert second.split() == ["b", "-", "x"]
    assert first.index("1.23") + 4 == second.index(" -") + 2  # numbers end in one column


def test_a_table_in_a_pipe_has_no_blanks_at_its_ends(capsys: pytest.CaptureFixture[str]) -> None:
    printing.table(["a", "b"], [["x", "y" * 200], ["x", "y"]])
    assert capsys.readouterr().out.splitlines() == ["a  b", "x  " + "y" * 200, "x  y"]


def test_a_name_stays_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("COLUMNS", "40"), ("FORCE_COLOR", "1"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    printing.table(["checkpoint", "of"], [["a-long-name-that-is-copied-8k", "many words that can be broken"]])
    assert "a-long-name-that-is-copied-8k" in capsys.readouterr().out


def test_names_in_brackets_and_between_colons_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    odd = ["data/[old]/train.jsonl", "[/old]", ":smile:"]
    printing.table(odd, [odd], title="[bold]")
    title, header, row = capsys.readouterr().out.splitlines()
    assert (title.strip(), header.split(), row.split()) == ("[bold]", odd, odd)


def test_a_bar_says_names_in_brackets_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with printing.Bar("work", quiet=False) as bar:
        bar.say("[/old] is damaged")
        bar.update(1, 2, "[/new]")
    told = capsys.readouterr().err
    assert "[/old] is damaged" in told
    assert "[/new]" in told


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    printing.table(["a", "b"], [])
    assert capsys.readouterr().out.split() == ["a", "b"]


def test_numbers_that_json_does_not_have_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    printing.json_line({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (float("-inf"), "x")}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": {"d": [None, "x"]}}


def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, done: range, seconds: float) -> list[str]:
    """Return the lines of something that has 100 steps and takes so long for each."""
    now = itertools.count(0.0, seconds)
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with printing.Bar("work", quiet=False) as bar:
        for step in done:
            bar.update(step, 100, "going")
        bar.say("said")
    captured = capsys.readouterr()
    assert captured.out == ""
    *lines, last = captured.err.splitlines()
    assert last == "septool: said"
    return lines


def test_off_a_terminal_progress_is_a_line_for_every_tenth(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = told(capsys, monkeypatch, range(1, 101), seconds=2.0)
    expected = [
        f"septool: work {n}/100 going, 0:{2 * (100 - n) // 60:02}:{2 * (100 - n) % 60:02} left"
        for n in range(10, 100, 10)
    ]
    assert lines == [*expected, "septool: work 100/100 going"]


def test_a_long_way_is_told_every_minute_and_from_where_it_went_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(capsys, monkeypatch, range(51, 56), seconds=30.0) == [
        "septool: work 51/100 going",
        "septool: work 53/100 going, 0:23:30 left",
        "septool: work 55/100 going, 0:22:30 left",
    ]


def test_results_stand_above_the_bar_or_in_the_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for terminal in (True, False):
        monkeypatch.setattr("sys.stdout.isatty", lambda there=terminal: there)
        with printing.Bar("work", quiet=False, lines=False) as bar:
            bar.update(1, 2)
            printing.line("result")
        told = capsys.readouterr()
        assert ("result\n" in told.err, told.out) == ((True, "") if terminal else (False, "result\n"))


def test_a_bar_without_lines_says_nothing_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with printing.Bar("work", quiet=False, lines=False) as bar:
        bar.update(1, 1)
        bar.say("said")
    assert capsys.readouterr() == ("", "septool: said\n")


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with printing.Bar("work", quiet=True) as bar:
        bar.update(1, 1)
        bar.say("said")
    assert capsys.readouterr() == ("", "")


def test_names_of_others_do_not_act_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printing.line("e\x1b[31mvil")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    printing.line("e\x1b[31mvil\tin\nlines")
    assert capsys.readouterr().out == "e\x1b[31mvil\n" + "e\\x1b[31mvil\tin\nlines\n"
    assert printing._cell("\ud800\x1b[2J") == "\\ud800\\x1b[2J"


def test_names_in_messages_do_nothing_to_a_terminal(septool: Command, tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31mRED\nseptool: all is well"
    folder.mkdir()
    shown = rf"{tmp_path}/a\x1b[31mRED\nseptool: all is well"
    holds = septool("separate", folder, "-o", tmp_path)
    assert holds.errors[0].startswith(f"septool: {shown} holds no audio files")
    for arguments in (
        ("separate", folder / "x.wav", "-o", tmp_path),  # escaped where it is said, and not once more
        ("separate", folder / "x.wav", folder / "x.flac", "-o", tmp_path),
        ("mix", folder / "x.jsonl", "-o", tmp_path),
        ("eval", folder / "x.jsonl", folder),
        ("models", "show", folder / "x.safetensors"),
        ("separate", "--\x1b[31mRED", "x.wav"),
    ):
        (line,) = septool(*arguments).errors
        assert "\x1b" not in line
        assert r"\x1b[31mRED" in line
        assert r"\\x1b" not in line


def test_a_line_above_the_bar_does_nothing_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with printing.Bar("separate", quiet=False) as bar:
        bar.follow("a\x1b[31mRED.wav", 1, 2)
        bar.say("a\x1b[31mRED.wav: there already")
    assert "\x1b[31mRED" not in (shown := capsys.readouterr().err)
    assert shown.count(r"\x1b[31mRED") >= 2
