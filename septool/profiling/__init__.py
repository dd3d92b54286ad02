"""Profiling of networks: time, memory, multiply-accumulates, and the papers' cost tables.

What belongs here is how a cost is measured, isolated, compared with a published one and reported.
"""
