"""Who speaks when: turns that are joined, and where two of them overlap."""

from septool.signal.turns import Turn, find_overlaps, merge_turns


def test_turns_of_a_speaker_are_joined_over_short_gaps_only() -> None:
    turns = [Turn(2.0, 3.0, "a"), Turn(0.0, 1.0, "a"), Turn(1.1, 1.5, "a"), Turn(1.0, 2.0, "b")]
    assert merge_turns(turns, gap=0.2) == [Turn(0.0, 1.5, "a"), Turn(1.0, 2.0, "b"), Turn(2.0, 3.0, "a")]
    assert merge_turns([Turn(0.0, 5.0, "a"), Turn(1.0, 2.0, "a")]) == [Turn(0.0, 5.0, "a")]


def test_overlaps_are_where_two_speak() -> None:
    turns = [Turn(0.0, 4.0, "a"), Turn(1.0, 2.0, "b"), Turn(1.5, 3.0, "c"), Turn(4.0, 5.0, "b")]
    assert [turn[:2] for turn in find_overlaps(turns)] == [(1.0, 3.0)]
