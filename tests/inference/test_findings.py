"""What is said of recordings and of the voices that were made of them."""

import numpy as np
import pytest

from septool import audio
from septool.inference.channels import Channel
from septool.inference.findings import Levels, report_caveats
from septool.inference.streaming import FileEstimate


@pytest.mark.parametrize(
    ("channel", "amplitudes", "said"),
    [
        ("each", [0.5, 0.5, 0.0, 0.0], "voice 1 of channel 2 and voice 2 of channel 2 are silent"),
        ("each", [0.5, 0.0, 0.5, 0.5], "voice 2 of channel 1 is silent"),
        ("each", [0.5, 0.0], "the voice of channel 2 is silent"),
        (1, [0.5, 0.0], "voice 2 of 2 is silent"),
        (1, [0.5, 0.0, 0.0], "voices 2 and 3 of 3 are silent"),
        (1, [0.0], None),
    ],
)
def test_silent_voices_are_named(channel: Channel, amplitudes: list[float], said: str | None) -> None:
    info = audio.AudioInfo(rate=8000, frames=8000, channels=2, subtype="FLOAT", header_frames=8000)
    sign = np.array([[1.0, -1.0]])
    levels = Levels()
    levels.recording.add(sign)
    for _ in range(2):
        levels.voices.add(np.array(amplitudes)[:, None] * sign)
    estimate = FileEstimate(info, 0, (), levels)
    found = report_caveats("call.wav", estimate, channel=channel, model="tiny", model_rate=8000)
    assert [each.text for each in found] == ([f"call.wav: {said}"] if said else [])
