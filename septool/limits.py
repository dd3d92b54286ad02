"""Limits on what files and settings may say: sample rates and channels of recordings, sizes of networks."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; beyond, a few bytes stand for hours, or hours for gigabytes
MOST_CHANNELS = 1024  # as in libsndfile
LARGEST_SIZE = 65_536  # of a number in a network's configuration: channels, layers, samples, speakers
