"""Toy trees in the layout of the real corpora, with the same samples on every machine."""

import hashlib
from pathlib import Path

import numpy as np
import soundfile

from septool import audio
from septool.tasks.mix import mix_manifest

RATE = 16000


def recording(path: Path, frames: int, *, rate: int = RATE, channels: int = 1) -> None:
    """Write whole numbers of a generator seeded with the file's name, in bursts; wv1 is NIST SPHERE."""
    random = np.random.default_rng(list(path.stem.encode()))
    samples = random.integers(-6000, 6000, (channels, frames)) * (np.arange(frames) // 4000 % 3 > 0) / 2**15
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".wv1":
        soundfile.write(path, samples.T, rate, format="NIST", subtype="PCM_16")
    else:
        audio.write(path, samples.astype(np.float32), rate)


def rendered(manifest: Path, out: Path, jobs: int = 1) -> str:
    """Render a manifest in 16 bits and return one sha256 over the samples of all files, in the order of their names."""
    _, failed = mix_manifest(manifest, out=out, jobs=jobs)
    assert failed == []
    digest = hashlib.sha256()
    for path in sorted(out.glob("*.wav")):
        samples, _ = soundfile.read(path, dtype="int16")
        digest.update(f"{path.name} {len(samples)}\n".encode())
        digest.update(samples.astype("<i2").tobytes())
    return digest.hexdigest()
