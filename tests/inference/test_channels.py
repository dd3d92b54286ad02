"""How the channel of a recording is named."""

import pytest

from septool.errors import UsageError
from septool.inference.channels import parse_channel

DIGITS = "9" * 5000  # more than int() takes


@pytest.mark.parametrize("channel", ["0", "-1", "1.5", "left", "1025", DIGITS])
def test_what_is_no_channel_is_refused(channel: str) -> None:
    assert parse_channel("1024") == 1024
    with pytest.raises(UsageError, match=r"it can be a number from 1 to 1024, mix or each"):
        parse_channel(channel)
