"""Limits on what files and settings may say: rates and channels of recordings, sizes of networks, processes."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; beyond, a few bytes stand for hours, or hours for gigabytes
MOST_CHANNELS = 1024  # as in libsndfile
LARGEST_SIZE = 65_536  # largest number in a network's configuration: channels, layers, samples, speakers
MOST_JOBS = 1024  # processes, or workers of one machine; more is a typing error
MOST_SHARDS = 1_000_000  # parts that recordings are shared out in, a machine each
MOST_PASSES = 16  # over a recording
MOST_PEOPLE = 100  # in a conversation


def is_at_most(digits: str, most: int) -> bool:
    """Return whether a number in digits is at most so large; int() refuses those of thousands of digits."""
    return len(digits) < 19 and int(digits) <= most
