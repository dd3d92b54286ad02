"""Costs of networks: time, memory, multiply-accumulates, and the papers' tables of them.

What belongs here is how a cost is measured, isolated, compared with a published one and reported.
"""
