"""Scores of items and of sets: estimates paired with references, summaries, speaker verification.

What belongs here is anything between estimates and the table that ``eval`` prints. Metrics themselves, functions of
arrays, are in :mod:`septool.metrics`.
"""
