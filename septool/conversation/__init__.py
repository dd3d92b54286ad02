"""Conversations: who speaks when in a long recording, and one track for each person.

What belongs here is anything that turns the two outputs of a separator into the voices of any number of people:
speech activity, speaker clustering, and the tracks put together from both. Turns and their formats are in :mod:`septool.data.turns`.
"""
