"""Selecting the channels of a recording."""

from typing import Literal

from septool.errors import UsageError
from septool.limits import MOST_CHANNELS, is_at_most

# A channel from 1; mix averages all, as does None, which also reports it; each processes them separately.
Channel = int | Literal["mix", "each"] | None


def parse_channel(channel: int | str | None) -> Channel:
    """Parse ``N``, ``mix`` or ``each``.

    Raises:
        UsageError: it is something else.
    """
    match channel:
        case None | "mix" | "each":
            return channel
        case int() if channel >= 1:
            return channel
        case str() if channel.isdecimal() and is_at_most(channel, MOST_CHANNELS) and int(channel) >= 1:
            return int(channel)
    raise UsageError(f"--channel is {channel!r}; it can be a number from 1 to {MOST_CHANNELS}, mix or each")


def channel_number(channel: Channel) -> int | None:
    """Return the selected channel, or None if it is not a single one."""
    return channel if isinstance(channel, int) else None


def name_pattern(ending: str, channel: int | str | None) -> str:
    """Return the default pattern of file names: the recording's stem, its channel, and what the file is."""
    return "{stem}" + ("_c{channel}" if channel == "each" else "") + f"_{ending}"
