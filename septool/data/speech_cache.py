"""The on-disk cache of decoded speech: one per manifest and rate, verified when it is opened.

Decoding compressed audio costs more than a training step leaves time for. The samples lie in the cache folder
under a name made of the manifest's content, the sizes and times of its recordings and the rate, as 16-bit numbers
in one file, and beside them an index with their sum. Each is written whole or not at all; a pool that a disk has
damaged is made anew. All pools together stay below a limit (``cache_limit``): those that have not been used for
longest go.
"""

import logging
import math
import os
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from septool import audio, workers
from septool.atomic import atomic_write, recover
from septool.config import cache_folder, cache_limit
from septool.data import manifest
from septool.data.pool import FULL_SCALE, UtterancePool, map_samples
from septool.errors import AudioError, ManifestError
from septool.files import make_folder, sha256_of
from septool.signal.levels import EMPTY_DB, from_db, remove_dc, rms_of

LOG = logging.getLogger(__name__)
FORMAT = 5  # format version of the cached files
NAMED = 3  # damaged recordings that a line names
RowSource = tuple[manifest.Mixture, manifest.Source]


def load_pool(
    path: Path, rate: int, jobs: int = 1, *, full_scale: bool = False, damaged_share: float = 0.0
) -> UtterancePool:
    """Decode every source of a manifest, or map the file of an earlier call.

    Args:
        path: the manifest; a source's gain is ignored; its start, frames and speed are not.
        rate: Hz of the pool.
        jobs: processes to decode with.
        full_scale: bring every recording's peak to 1 and leave its offset, as of RIRs; others lose theirs.
        damaged_share: share of the utterances, rounded up, that may be in recordings that cannot be decoded, or that
            break off; they are left out and named.

    Raises:
        ManifestError: more are damaged, or none has speech in it.
        AudioError: one is damaged, and none may be.
    """
    rows = manifest.read_manifest(path)
    identity = f"{path.resolve().parent}\n{sha256_of(path)}\n{rate}" + ("\nfull scale" if full_scale else "")
    identity += f"\n{FORMAT}"
    key = sha256_of(os.fsencode(f"{identity}\n{_file_stamps(rows)}"))[:16]  # names of folders need not be text
    target = cache_folder() / "speech" / f"{path.stem}-{rate}-{key}.npz"
    samples_path = target.with_suffix(".i16")
    LOG.info("%s is cached as %s", path, samples_path)
    index = _read_index(target, samples_path)
    if index is None:
        LOG.info("decoding its %d rows", len(rows))
        limit = cache_limit()
        decode = partial(_decode_utterance, rate, full_scale)
        index = _decode(path, rows, decode, jobs, target, samples_path, damaged_share)
        _evict(samples_path, limit)
    with suppress(OSError):  # a cache of someone else's; the time of change stays
        os.utime(samples_path, ns=(time.time_ns(), samples_path.stat().st_mtime_ns))
    if index.damaged:
        count = len(list(manifest.iter_sources(rows)))
        check_damage(path, index.damaged, count, damaged_share)
        left_out = len(index.damaged)
        level, named = workers.warning_level(), _first(index.damaged)
        LOG.log(level, "%d of the %d utterances of %s are damaged and left out: %s", left_out, count, path, named)
    genders = {source.speaker: source.gender for _, source in manifest.iter_sources(rows) if source.gender is not None}
    return UtterancePool(map_samples(samples_path), index.bounds, index.levels, index.names, rate, genders)


class _Index(NamedTuple):
    """What lies beside the samples of a pool."""

    bounds: np.ndarray  # [utterance + 1], samples
    levels: np.ndarray  # [utterance], RMS
    names: list[str]  # speakers
    damaged: list[str]  # what was left out, and why
    sha256: str  # hash of the samples


def _read_index(target: Path, samples_path: Path) -> _Index | None:
    """Return the index of a pool; None if there is none, or if it or the samples are not what was written."""
    try:
        with target.open("rb") as stream, np.load(stream) as file:
            names, damaged = [str(name) for name in file["names"]], [str(reason) for reason in file["damaged"]]
            index = _Index(file["bounds"], file["levels"], names, damaged, str(file["sha256"]))
        if sha256_of(samples_path) == index.sha256:
            return index
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error):
        pass
    LOG.warning("%s is damaged, and is made anew", samples_path)
    return None


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
    stamps: dict[str, tuple[int, int]] = {}
    for path in {row.locate(source.path) for row in rows for source in row.sources}:
        with suppress(OSError):  # decoding says it better
            status = path.stat()
            stamps[str(path)] = (status.st_size, status.st_mtime_ns)
    return str(sorted(stamps.items()))


def _evict(keep: Path, limit: int) -> None:
    """Remove the pools that have not been used for longest until ``limit`` bytes are left; ``keep`` stays."""
    pools: list[tuple[int, int, Path]] = []
    for path in keep.parent.glob("*.i16"):
        with suppress(FileNotFoundError):  # another run tidies as well
            status = path.stat()
            pools.append((status.st_atime_ns, status.st_size, path))
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
    decode: Callable[[RowSource], tuple[np.ndarray, float] | AudioError],
    jobs: int,
    target: Path,
    samples_path: Path,
    damaged_share: float,
) -> _Index:
    make_folder(target.parent)
    recover(target.parent)  # of a decoder that was killed: as large as a pool, and counted by no limit
    utterances = list(manifest.iter_sources(rows))
    bounds = [0]
    levels: list[float] = []
    names: list[str] = []
    damaged: list[str] = []
    with atomic_write(samples_path) as partial_path, partial_path.open("wb") as file:
        for (_, source), decoded in zip(utterances, workers.each(decode, utterances, jobs), strict=True):
            if isinstance(decoded, AudioError):
                if not damaged_share:
                    raise decoded
                damaged.append(str(decoded))
                check_damage(path, damaged, len(utterances), damaged_share)
                continue
            samples, level = decoded
            if level < from_db(EMPTY_DB):
                continue
            file.write(samples.tobytes())
            bounds.append(bounds[-1] + len(samples))
            levels.append(level)
            names.append(source.speaker)
        if not names:
            raise ManifestError(f"{path}: no utterance has speech in it")
        file.flush()
        digest = sha256_of(partial_path)
    index = _Index(np.array(bounds), np.array(levels), names, damaged, digest)
    with atomic_write(target) as partial_path, partial_path.open("wb") as file:
        texts = {"names": np.array(names), "damaged": np.array(damaged, dtype=str), "sha256": np.array(digest)}
        np.savez(file, bounds=index.bounds, levels=index.levels, **texts)  # pyright: ignore[reportArgumentType]
    return index


def read_source(row: manifest.Mixture, source: manifest.Source, rate: int) -> np.ndarray:
    """Read a source of a row at its speed, as one channel ``[time]`` at ``rate`` Hz; its gain is left to the caller.

    Raises:
        AudioError: it cannot be decoded, or breaks off.
    """
    samples, file_rate = audio.read_audio(row.locate(source.path), source.start, source.frames, whole=True)
    # A voice at speed 1.05 is one whose rate was 1.05 times as high as the file says.
    return audio.resample(audio.to_mono(samples), file_rate * source.speed, rate)


def _decode_utterance(rate: int, full_scale: bool, utterance: RowSource) -> tuple[np.ndarray, float] | AudioError:
    row, source = utterance
    try:
        samples = read_source(row, source, rate)
    except AudioError as error:
        return error
    if len(samples) and not full_scale:  # in use a recording is given without its offset; that of an RIR is a gain
        samples = remove_dc(samples)
    peak = np.abs(samples).max(initial=0)
    if peak and (full_scale or peak > 1):  # floats above full scale keep their shape, not their level
        samples = samples / peak
    return np.round(np.clip(samples, -1, 1) * FULL_SCALE).astype(np.int16), float(rms_of(samples))
