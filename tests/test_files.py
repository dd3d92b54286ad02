"""Reading files that were not finished."""

import pytest

from septool.files import parse_json_lines


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'{"a": 1}\n[2]\n', [{"a": 1}, [2]]),
        (b'\xef\xbb\xbf{"a": 1}\r\n\r\n3', [{"a": 1}, 3]),
        (b'{"a": 1}\n{"a": 2, "b\n{"a": 3}\n{"a"', [{"a": 1}, {"a": 3}]),
        (b'\xff\n"\xff"\n', ["\ufffd"]),
        (b"[" * 100_000 + b'\n"a"', ["a"]),
        (b"", []),
    ],
)
def test_lines_that_are_none_are_left_out(content: bytes, rows: list[object]) -> None:
    assert [*parse_json_lines(content)] == rows
