"""Scoring of items and sets: pairing estimates with references, summaries, speaker verification.

What belongs here is anything between estimates and the table that ``eval`` prints. Metrics themselves, functions of
arrays, are in :mod:`septool.metrics`.
"""
