"""What is counted of many recordings."""

from pathlib import Path

import numpy as np

from benchmarks.many_files import count_lost, write_recordings
from septool import audio


def test_recordings_are_of_a_second_and_differ(tmp_path: Path) -> None:
    write_recordings(tmp_path, 3)
    found = [audio.read_audio(path) for path in sorted(tmp_path.iterdir())]
    assert {samples.shape[1] / rate for samples, rate in found} == {1.0}
    assert not np.array_equal(found[0][0], found[2][0])


def test_voices_that_are_missing_or_cut_are_counted(tmp_path: Path) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    for folder in (recordings, out):
        folder.mkdir()
    write_recordings(recordings, 2)
    for name in ("000000", "000001"):
        samples, rate = audio.read_audio(recordings / f"{name}.wav")
        for number in (1, 2):
            audio.write_audio(out / f"{name}_s{number}.wav", samples, rate, "PCM_16")
    assert count_lost(recordings, out) == 0
    audio.write_audio(out / "000000_s2.wav", samples[:, 5:], rate, "PCM_16")
    (out / "000001_s1.wav").unlink()
    assert count_lost(recordings, out) == 2
