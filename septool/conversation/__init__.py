"""Conversations: who speaks when in a long recording, and one track for each person.

What belongs here is anything that turns the outputs of a separator into the voices of any number of people: speech
activity, speaker clustering, and the tracks put together from both. Turns are in :mod:`septool.signal.turns`, the
formats that say who speaks when in :mod:`septool.data.turns`.
"""
