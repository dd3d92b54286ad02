"""Losses: minus a metric, and the wrappers that find the order of the sources."""
