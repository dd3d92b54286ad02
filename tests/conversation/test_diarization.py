"""Diarization: what is said of speakers, where nobody is left of them, too."""

from itertools import repeat

import numpy as np
import pytest

from septool.conversation.activity import Activity
from septool.conversation.diarization import Assignment, describe_speakers
from septool.conversation.runs import Run, WindowActivity
from septool.conversation.speaker_count import ANY_COUNT
from septool.conversation.statistics import CAMPPLUS
from septool.conversation.windows import WindowStore


def test_a_run_that_is_nobodys_stays_so_where_a_speaker_is_dropped() -> None:
    silence = Activity(*repeat(np.zeros(15, dtype=bool), 3))
    windows = [WindowActivity(0, silence), WindowActivity(5, silence)]
    runs = [Run(0, 0, np.arange(first, 15), 0.0) for first in (12, 2, 3)]  # the first is beyond the border
    assignment = Assignment(windows, runs, np.array([0, -1, 1]), [0, 10, 20])
    assert assignment.drop_unheard(ANY_COUNT).labels.tolist() == [-1, -1, 0]


@pytest.mark.parametrize(("first", "expected"), [(2, 1), (12, 0)])
def test_each_speaker_who_is_left_has_an_embedding(first: int, expected: int) -> None:
    """Frames of the first window from 10 on are those of the second, in which nobody speaks."""
    silence = Activity(*repeat(np.zeros(15, dtype=bool), 3))
    windows = [WindowActivity(0, silence), WindowActivity(5, silence)]
    runs = [Run(0, 0, np.arange(first, 15), 0.0)]
    assignment = Assignment(windows, runs, np.zeros(1, dtype=int), [0, 10, 20]).drop_unheard(ANY_COUNT)
    found = describe_speakers(assignment, np.ones((1, 4)), WindowStore(8000), (), CAMPPLUS)
    assert len(found.speakers) == expected
    assert found.embeddings.shape == (expected, 4)
