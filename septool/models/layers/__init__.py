"""Layers that several of the papers share, each with the equation it computes.

A layer moves here when a third model needs the same equation.
"""
