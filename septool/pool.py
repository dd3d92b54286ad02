"""A pool of decoded speech: every utterance of a manifest at one rate, in one memory-mapped file.

Decoding compressed audio costs more than a training step leaves time for, so it is done once. The file
lies in the cache folder under a name made of the manifest's content and the rate, and holds 16-bit
samples; it is written whole or not at all.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from septool import audio, manifest, workers
from septool.config import cache_folder
from septool.errors import ManifestError

FULL_SCALE = 32767.0
SILENT_RMS = 1e-4  # an utterance below -80 dB has no speech


class Pool(Sequence[tuple[np.ndarray, float]]):
    """Utterances ``(samples [time] in [-1, 1], RMS)``, and which speaker has which of them."""

    def __init__(self, samples: np.ndarray, bounds: np.ndarray, levels: np.ndarray, names: list[str], rate: int):
        self.rate = rate
        self._samples, self._bounds, self._levels = samples, bounds, levels
        self.names = sorted(set(names))
        number = {name: index for index, name in enumerate(self.names)}
        self._speaker = np.array([number[name] for name in names])
        # Utterances of each speaker, by number.
        self.speakers = [np.flatnonzero(self._speaker == index) for index in range(len(self.names))]

    def __len__(self) -> int:
        return len(self._levels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, float]:  # type: ignore[override]
        start, end = self._bounds[index : index + 2]
        return self._samples[start:end] / np.float32(FULL_SCALE), float(self._levels[index])

    def speaker_of(self, index: int) -> int:
        """Return the number of the speaker of an utterance."""
        return int(self._speaker[index])

    @property
    def seconds(self) -> float:
        """Length of all utterances together."""
        return len(self._samples) / self.rate


def load(path: Path, rate: int, jobs: int = 1) -> Pool:
    """Decode every source of a manifest, or map the file of an earlier call.

    Args:
        path: the manifest; a source's gain is ignored, its start and frames are not.
        rate: Hz of the pool.
        jobs: processes to decode with.
    """
    rows = manifest.read(path)
    key = hashlib.sha256(f"{path.resolve().parent}\n{manifest.digest(path)}\n{rate}".encode()).hexdigest()[:16]
    target = cache_folder() / "speech" / f"{path.stem}-{rate}-{key}.npz"
    samples_path = target.with_suffix(".i16")
    if not (target.exists() and samples_path.exists()):
        _decode(rows, rate, jobs, target, samples_path)
    with np.load(target) as index:
        bounds, levels, names = index["bounds"], index["levels"], [str(name) for name in index["names"]]
    return Pool(np.memmap(samples_path, dtype=np.int16, mode="r"), bounds, levels, names, rate)


def _decode(rows: list[manifest.Mixture], rate: int, jobs: int, target: Path, samples_path: Path) -> None:
    audio.make_folder(target.parent)
    utterances = list(manifest.speakers(rows))
    bounds, levels, names = [0], [], []
    with audio.replacing(samples_path) as partial_path, partial_path.open("wb") as file:
        for (_, source), (samples, level) in zip(
            utterances, workers.each(partial(_one, rate), utterances, jobs), strict=True
        ):
            if level < SILENT_RMS:
                continue
            file.write(samples.tobytes())
            bounds.append(bounds[-1] + len(samples))
            levels.append(level)
            names.append(source.speaker)
        if not names:
            raise ManifestError(f"{target.stem}: no utterance has speech in it")
    with audio.replacing(target) as partial_path, partial_path.open("wb") as file:
        np.savez(file, bounds=np.array(bounds), levels=np.array(levels), names=np.array(names))


def _one(rate: int, utterance: tuple[manifest.Mixture, manifest.Source]) -> tuple[np.ndarray, float]:
    row, source = utterance
    samples = audio.load(row.locate(source.path), rate, source.start, source.frames)
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    return np.round(np.clip(samples, -1, 1) * FULL_SCALE).astype(np.int16), level
