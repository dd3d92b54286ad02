"""The utterance pool: decoded speech of a manifest at one rate, in one memory-mapped file.

Decoding compressed audio costs more than a training step leaves time for, so it is done once. The file
lies in the cache folder under a name made of the manifest's content, the sizes and times of its recordings
and the rate, and holds 16-bit samples; it is written whole or not at all. All files together stay below a
limit (``cache_limit``): those that have not been used for longest go.
"""

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from septool import audio, workers
from septool.config import JsonDict, cache_folder, cache_limit
from septool.data import manifest
from septool.errors import AudioError, ManifestError
from septool.files import atomic_write, make_folder, sha256_of
from septool.signal.levels import rms_of

LOG = logging.getLogger(__name__)
FULL_SCALE = 32767.0
SILENT_RMS = 1e-4  # an utterance below -80 dB has no speech
FORMAT = 2  # of the files, counted up when others are kept of the same recordings
NAMED = 3  # damaged recordings that a line names
Utterance = tuple[manifest.Mixture, manifest.Source]


class UtterancePool(Sequence[tuple[np.ndarray, float]]):
    """Utterances ``(samples [time] in [-1, 1], RMS)``, and which speaker has which of them."""

    def __init__(self, samples: np.ndarray, bounds: np.ndarray, levels: np.ndarray, names: list[str], rate: int):
        self.rate = rate
        self._samples, self._bounds, self._levels = samples, bounds, levels
        self.speaker_names = sorted(set(names))
        number = {name: index for index, name in enumerate(self.speaker_names)}
        self._speaker = np.array([number[name] for name in names])
        # Utterances of each speaker, by number.
        self.speakers = [np.flatnonzero(self._speaker == index) for index in range(len(self.speaker_names))]

    def __len__(self) -> int:
        return len(self._levels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, float]:  # type: ignore[override]
        return self.segment(index), self.level(index)

    def __getstate__(self) -> JsonDict:
        state = vars(self).copy()
        if isinstance(self._samples, np.memmap):  # a process that gets the pool maps the file, not a copy of it
            state["_samples"] = self._samples.filename
        return state

    def __setstate__(self, state: JsonDict) -> None:
        vars(self).update(state)
        if not isinstance(self._samples, np.ndarray):
            self._samples = _map(self._samples)

    def frames(self, index: int) -> int:
        """Return the length of an utterance in samples."""
        return int(self._bounds[index + 1] - self._bounds[index])

    def level(self, index: int) -> float:
        """Return the RMS of an utterance."""
        return float(self._levels[index])

    def magnitude(self, index: int) -> float:
        """Return the mean magnitude of an utterance's samples."""
        return float(np.abs(self._whole(index)).mean()) / FULL_SCALE

    def segment(self, index: int, start: int = 0, frames: int | None = None) -> np.ndarray:
        """Return a segment ``[time]`` of an utterance, cut where it ends; float32 in [-1, 1]."""
        end = None if frames is None else start + frames
        return self._whole(index)[start:end] / np.float32(FULL_SCALE)

    def _whole(self, index: int) -> np.ndarray:
        start, end = self._bounds[index : index + 2]
        return self._samples[start:end]

    def speaker_of(self, index: int) -> int:
        """Return the number of the speaker of an utterance."""
        return int(self._speaker[index])

    def split_single_utterances(self) -> "UtterancePool":
        """Return the pool with the only utterance of a speaker as two halves: one to enroll with, one to mix."""
        bounds, levels, names = [0], [], []
        for utterance, end in enumerate(self._bounds[1:]):
            speaker = self.speaker_of(utterance)
            if len(self.speakers[speaker]) == 1:
                bounds.append((bounds[-1] + int(end)) // 2)
                levels.append(self.level(utterance))
                names.append(self.speaker_names[speaker])
            bounds.append(int(end))
            levels.append(self.level(utterance))
            names.append(self.speaker_names[speaker])
        return UtterancePool(self._samples, np.array(bounds), np.array(levels), names, self.rate)

    @property
    def seconds(self) -> float:
        """Length of all utterances together."""
        return len(self._samples) / self.rate


def load_pool(
    path: Path, rate: int, jobs: int = 1, *, full_scale: bool = False, damaged_share: float = 0.0
) -> UtterancePool:
    """Decode every source of a manifest, or map the file of an earlier call.

    Args:
        path: the manifest; a source's gain is ignored, its start and frames are not.
        rate: Hz of the pool.
        jobs: processes to decode with.
        full_scale: bring every recording's peak to 1.
        damaged_share: share of the utterances, rounded up, that may be in recordings that cannot be decoded, or that
            break off; they are left out and named.

    Raises:
        ManifestError: more are damaged, or none has speech in it.
        AudioError: one is damaged, and none may be.
    """
    rows = manifest.read_manifest(path)
    identity = f"{path.resolve().parent}\n{sha256_of(path)}\n{rate}" + ("\nfull scale" if full_scale else "")
    identity += f"\n{FORMAT}"
    key = hashlib.sha256(f"{identity}\n{_file_stamps(rows)}".encode()).hexdigest()[:16]
    target = cache_folder() / "speech" / f"{path.stem}-{rate}-{key}.npz"
    samples_path = target.with_suffix(".i16")
    LOG.info("%s is cached as %s", path, samples_path)
    if not (target.exists() and samples_path.exists()):
        LOG.info("decoding its %d rows", len(rows))
        limit = cache_limit()
        _decode(path, rows, partial(_decode_utterance, rate, full_scale), jobs, target, samples_path, damaged_share)
        _evict(samples_path, limit)
    with suppress(OSError):  # a cache of someone else's; the time of change stays
        os.utime(samples_path, ns=(time.time_ns(), samples_path.stat().st_mtime_ns))
    with np.load(target) as index:
        bounds, levels, names = index["bounds"], index["levels"], [str(name) for name in index["names"]]
        damaged = [str(reason) for reason in index["damaged"]] if "damaged" in index else []
    if damaged:
        count = len(list(manifest.iter_sources(rows)))
        check_damage(path, damaged, count, damaged_share)
        LOG.warning(
            "%d of the %d utterances of %s are damaged and left out: %s", len(damaged), count, path, _first(damaged)
        )
    return UtterancePool(_map(samples_path), bounds, levels, names, rate)


def check_damage(path: Path, damaged: Sequence[str], count: int, share: float) -> None:
    """Refuse a manifest of ``count`` items when more than a share of them is damaged.

    Raises:
        ManifestError: naming the first of them.
    """
    most = math.ceil(share * count)
    if len(damaged) > most:
        raise ManifestError(
            f"{path}: more than {most} of {count} are damaged, the share that data.damaged_share ({share:g}) allows: "
            f"{_first(damaged)}"
        )


def _first(damaged: Sequence[str]) -> str:
    return "; ".join(damaged[:NAMED]) + (f"; and {len(damaged) - NAMED} more" if len(damaged) > NAMED else "")


def _file_stamps(rows: list[manifest.Mixture]) -> str:
    """Return what changes when a recording is replaced: the size and the time of every file, as far as it is there."""
    stamps = {}
    for path in {row.locate(source.path) for row in rows for source in row.sources}:
        with suppress(OSError):  # decoding says it better
            about = path.stat()
            stamps[str(path)] = (about.st_size, about.st_mtime_ns)
    return str(sorted(stamps.items()))


def _map(path: Path | str) -> np.ndarray:
    return np.memmap(path, dtype=np.int16, mode="r")


def _evict(keep: Path, limit: int) -> None:
    """Remove the pools that have not been used for longest until ``limit`` bytes are left; ``keep`` stays."""
    pools = []
    for path in keep.parent.glob("*.i16"):
        with suppress(FileNotFoundError):  # another run tidies as well
            about = path.stat()
            pools.append((about.st_atime_ns, about.st_size, path))
    excess = sum(size for _, size, _ in pools) - limit
    for _, size, path in sorted(pools):
        if excess <= 0:
            break
        if path != keep:
            excess -= size
            with suppress(OSError):  # Windows keeps a file that is in use
                path.unlink()
                path.with_suffix(".npz").unlink(missing_ok=True)


def _decode(
    path: Path,
    rows: list[manifest.Mixture],
    one: Callable[[Utterance], tuple[np.ndarray, float] | AudioError],
    jobs: int,
    target: Path,
    samples_path: Path,
    damaged_share: float,
) -> None:
    make_folder(target.parent)
    utterances = list(manifest.iter_sources(rows))
    bounds, levels, names, damaged = [0], [], [], []
    with atomic_write(samples_path) as partial_path, partial_path.open("wb") as file:
        for (_, source), decoded in zip(utterances, workers.each(one, utterances, jobs), strict=True):
            if isinstance(decoded, AudioError):
                if not damaged_share:
                    raise decoded
                damaged.append(str(decoded))
                check_damage(path, damaged, len(utterances), damaged_share)
                continue
            samples, level = decoded
            if level < SILENT_RMS:
                continue
            file.write(samples.tobytes())
            bounds.append(bounds[-1] + len(samples))
            levels.append(level)
            names.append(source.speaker)
        if not names:
            raise ManifestError(f"{target.stem}: no utterance has speech in it")
    with atomic_write(target) as partial_path, partial_path.open("wb") as file:
        np.savez(
            file,
            bounds=np.array(bounds),
            levels=np.array(levels),
            names=np.array(names),
            damaged=np.array(damaged, dtype=str),
        )


def _decode_utterance(rate: int, full_scale: bool, utterance: Utterance) -> tuple[np.ndarray, float] | AudioError:
    row, source = utterance
    try:
        samples = _read_whole(row.locate(source.path), rate, source)
    except AudioError as error:
        return error
    peak = np.abs(samples).max(initial=0)
    if peak and (full_scale or peak > 1):  # of what is above full scale, as floats can be, only the shape counts
        samples = samples / peak
    return np.round(np.clip(samples, -1, 1) * FULL_SCALE).astype(np.int16), float(rms_of(samples))


def _read_whole(path: Path, rate: int, source: manifest.Source) -> np.ndarray:
    """Read a source ``[time]`` at ``rate`` Hz; one that goes to the end of a recording has to be whole.

    Raises:
        AudioError: it cannot be decoded, or breaks off.
    """
    if source.frames >= 0:
        return audio.load_audio(path, rate, source.start, source.frames)
    with audio.open_audio(path) as file:
        file.seek(source.start)
        samples = file.read()
        partial_ones = [finding for finding in file.findings if finding.is_partial]
        if partial_ones:
            raise AudioError(partial_ones[0].describe(file.name))
        return audio.resample(audio.to_mono(samples), file.rate, rate)
