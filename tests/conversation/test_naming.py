"""People of a conversation are called by known voices, and nobody by somebody else's name."""

import numpy as np
import pytest

from septool.conversation.naming import name_speakers
from septool.conversation.statistics import CAMPPLUS
from septool.inference.voiceprints import Voiceprint

ONE, OTHER = np.array([1.0, 0.0]), np.array([0.0, 1.0])


@pytest.mark.parametrize(
    ("voices", "names"),
    [
        ([], ("speaker1", "speaker2")),
        ([Voiceprint("ann", OTHER, 1.0)], ("speaker1", "ann")),
        ([Voiceprint("speaker2", ONE, 1.0)], ("speaker2", "speaker3")),
        ([Voiceprint("speaker1", -ONE, 1.0), Voiceprint("speaker3", -OTHER, 1.0)], ("speaker4", "speaker2")),
    ],
)
def test_names(voices: list[Voiceprint], names: tuple[str, ...]) -> None:
    assert name_speakers(np.stack([ONE, OTHER]), voices, CAMPPLUS.alike) == names


def test_whoever_speaks_too_shortly_is_nobody_who_is_known() -> None:
    """Nothing says what they sound like, not even how many numbers say it."""
    assert name_speakers(np.zeros((1, 1)), [Voiceprint("ann", OTHER, 1.0)], CAMPPLUS.alike) == ("speaker1",)
