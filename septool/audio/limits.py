"""Limits on the sample rate and channel count of recordings."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; beyond, a few bytes stand for hours, or hours for gigabytes
MOST_CHANNELS = 1024  # as in libsndfile
