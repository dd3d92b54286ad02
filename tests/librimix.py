"""The reference generator of LibriMix, from its description: an oracle that shares no code with septool."""

from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

RATE = 16000
Recording = tuple[Path, float]  # a file and its gain, as a factor


def continued(noise: np.ndarray, length: int) -> np.ndarray:
    """Go on with copies, each faded over the last by the two halves of a Hann window of 16001 points."""
    if len(noise) >= length:
        return noise[:length]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(16001) / 16000)
    up, down = window[:8001], window[8000:]
    result = list(noise)
    while len(result) < length:
        head, tail = result[:-8001], np.array(result[-8001:])
        result = head + list(tail * down + noise[:8001] * up) + list(noise[8001:])
    return np.array(result[:length])


def generate(
    voices: list[Recording], noise: Recording | None, kind: str, mode: str, rate: int, scratch: Path
) -> dict[str, np.ndarray]:
    """Return the 16-bit samples of the mixture, ``s1``, ``s2``, ... and ``noise``, rounded by writing them."""
    originals = [soundfile.read(path, dtype="float32")[0] for path, _ in voices]
    parts = [resample_poly(samples * gain, rate, RATE) for samples, (_, gain) in zip(originals, voices, strict=True)]
    if noise:
        longest = max(map(len, originals))
        samples, _ = soundfile.read(noise[0], dtype="float32", stop=longest, always_2d=True)
        parts.append(resample_poly(continued(samples[:, 0], longest) * noise[1], rate, RATE))
    length = (min if mode == "min" else max)(map(len, parts))
    parts = [np.concatenate([part[:length], np.zeros(max(length - len(part), 0), part.dtype)]) for part in parts]
    mixed = {"clean": parts[: len(voices)], "both": parts, "single": [parts[0], parts[-1]]}[kind]
    total = np.zeros_like(parts[0])
    for part in mixed:
        total += part
    names = ["mixture", *(f"s{number}" for number in range(1, len(voices) + 1)), *(["noise"] if noise else [])]
    result = {}
    for name, samples in zip(names, [total, *parts], strict=True):
        soundfile.write(scratch, samples, rate)
        result[name] = np.asarray(soundfile.read(scratch, dtype="int16")[0])
    return result
