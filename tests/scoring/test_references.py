"""Voices that were just separated, scored at the model's rate."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from septool import audio
from septool.errors import AudioError
from septool.inference.streaming import EstimateSettings
from septool.scoring.references import read_references, score_outputs


def test_scores_do_not_ask_for_what_the_model_cannot_hear(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    true = random.standard_normal((2, 32000)) * 0.1  # white, at 16 kHz
    half = [audio.resample(audio.resample(one, 16000, 8000), 8000, 16000) for one in true]
    for number, voice in enumerate((true.sum(0), *half)):
        soundfile.write(tmp_path / f"{number}.wav", voice, 16000, subtype="FLOAT")
    files = [tmp_path / f"{number}.wav" for number in range(3)]
    wide, narrow = (EstimateSettings(voices=2, model_rate=rate, segment=30, overlap=4) for rate in (16000, 8000))
    lost = score_outputs(files[0], files[1:], torch.from_numpy(true), wide)
    kept = score_outputs(files[0], files[1:], torch.from_numpy(true), narrow)
    assert all(each.si_snri is not None and each.si_snri < 3 for each in lost)
    assert all(each.si_snri is not None and each.si_snri > 20 for each in kept)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_a_named_pipe_that_would_be_read_twice_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "call.wav")
    settings = EstimateSettings(voices=2, model_rate=8000, segment=30, overlap=4)
    with pytest.raises(AudioError, match="is a pipe, which can be read only once"):
        read_references([], tmp_path / "call.wav", settings)
