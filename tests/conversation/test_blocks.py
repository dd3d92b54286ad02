"""Blocks: which one is the last."""

import pytest

from septool.conversation.blocks import mark_last


@pytest.mark.parametrize("blocks", ["", "a", "ab", "abc"])
def test_the_last_block_is_marked_and_no_other(blocks: str) -> None:
    expected = [(block, number == len(blocks)) for number, block in enumerate(blocks, 1)]
    assert list(mark_last(blocks)) == expected
