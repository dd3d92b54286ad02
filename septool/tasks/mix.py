"""Mixing: two recordings into one, or every row of a manifest into files."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from septool import audio, manifest
from septool.errors import AudioError, SeptoolError, UsageError
from septool.mixing import render
from septool.signal.levels import from_db


@dataclass(frozen=True)
class Mixed:
    """A mixture that was written."""

    id: str
    mixture: str
    sources: tuple[str, ...]
    seconds: float
    scaled_db: float  # gain on everything that kept the peak below full scale


def mix_files(
    inputs: Sequence[Path],
    *,
    out: Path,
    snr: Sequence[float] = (0.0,),
    mode: Literal["min", "max"] = "min",
    sample_rate: int | None = None,
    sources: Path | None = None,
    force: bool = False,
) -> Mixed:
    """Mix recordings at given level differences.

    Every voice is first brought to the level (RMS) of the first one; voice n + 1 then stands
    ``snr[n]`` dB *below* the first. If the sum would go over full scale, everything is scaled down to a
    peak of 0.9 together, so the sources still add up to the mixture.

    Args:
        inputs: two or more files; several channels are averaged.
        out: the mixture's file.
        snr: level of the first voice over each further one, in dB; one value serves all.
        mode: cut to the shortest, or pad to the longest.
        sample_rate: Hz of the mixture; the first file's by default.
        sources: folder for the voices as they are in the mixture, ``{stem}_s1.wav`` and so on.
        force: replace files that are there.
    """
    if len(inputs) < 2:
        raise UsageError("mixing takes at least two files (or one manifest, a .jsonl)")
    if len(snr) not in (1, len(inputs) - 1):
        raise UsageError(f"{len(inputs)} files take {len(inputs) - 1} values of --snr (or one for all), not {len(snr)}")
    rate = sample_rate or audio.info(inputs[0]).rate
    voices = [audio.load(path, rate) for path in inputs]
    for path, voice in zip(inputs, voices, strict=True):
        if not np.isfinite(voice).all():
            raise AudioError(f"{path} holds samples that are not numbers (NaN or infinite)")
        if not np.any(voice):
            raise SeptoolError(f"{path} is silent, so it has no level to set")
    first = _rms(voices[0])
    below = list(snr) * (len(inputs) - 1) if len(snr) == 1 else list(snr)
    voices = [voices[0]] + [
        voice * np.float32(first / _rms(voice) * from_db(-db)) for voice, db in zip(voices[1:], below, strict=True)
    ]
    lengths = [len(voice) for voice in voices]
    frames = min(lengths) if mode == "min" else max(lengths)
    parts = np.stack([np.pad(voice[:frames], (0, max(frames - len(voice), 0))) for voice in voices])
    gain = headroom(parts)
    return write_mixture(out.stem, parts * np.float32(gain), rate, out, sources, force=force, gain=gain)


def _rms(voice: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(voice, dtype=np.float64))))


def headroom(parts: np.ndarray) -> float:
    """Gain that keeps the sum and every part within full scale: 1, or what makes the peak 0.9."""
    peak = max(float(np.abs(parts.sum(0)).max()), float(np.abs(parts).max()))
    return 0.9 / peak if peak > 1 else 1.0


def write_mixture(
    name: str, parts: np.ndarray, rate: int, out: Path, sources: Path | None, *, force: bool, gain: float
) -> Mixed:
    """Write the sum of ``parts [source, time]`` to ``out``, and the parts to a folder if one is given."""
    files = [sources / f"{name}_s{index + 1}{out.suffix}" for index in range(len(parts))] if sources else []
    for path in [out, *files]:
        if path.exists() and not force:
            raise SeptoolError(f"{path} exists; use --force to replace it")
        audio.make_folder(path.parent)
    # The voices first: a mixture that is there says that all of it is.
    for path, part in zip(files, parts, strict=bool(files)):
        audio.write(path, part, rate)
    audio.write(out, parts.sum(0, dtype=np.float32), rate)
    scaled_db = round(20 * float(np.log10(gain)), 2)
    return Mixed(name, str(out), tuple(map(str, files)), parts.shape[1] / rate, scaled_db)


def mix_manifest(
    source: Path,
    *,
    out: Path,
    sample_rate: int | None = None,
    subtype: str = "PCM_16",
    force: bool = False,
    jobs: int = 1,
    report: Callable[[int, int], None] = lambda *_: None,
) -> Path:
    """Render every row of a manifest to ``{id}.wav``, ``{id}_s1.wav``, ... and a manifest beside them.

    Rows that are there already are left as they are, so a run that was stopped goes on.

    Args:
        source: the manifest.
        out: folder of the files.
        sample_rate: Hz instead of each row's own.
        subtype: PCM_16 (rounds; clips what goes over full scale) or FLOAT (the exact samples).
        force: render again what is there.
        jobs: processes; any number writes the same files.
        report: called with the number done, of how many.

    Returns:
        The new manifest, whose rows point at the rendered files.
    """
    rows = sorted(manifest.read(source), key=lambda row: row.id)
    if len({row.id for row in rows}) < len(rows):
        raise SeptoolError(f"{source} has two rows of the same id; the files of one would replace the other's")
    audio.make_folder(out)
    work = partial(_render_row, out=out, sample_rate=sample_rate, subtype=subtype, force=force)
    rendered: list[manifest.Mixture] = []
    with ProcessPoolExecutor(jobs) as workers:
        for row in workers.map(work, rows):
            rendered.append(row)
            report(len(rendered), len(rows))
    path = out / "mixtures.jsonl"
    with audio.replacing(path) as partial_path:
        partial_path.write_text(manifest.dump(rendered), encoding="utf-8")
    return path


def _render_row(
    row: manifest.Mixture, *, out: Path, sample_rate: int | None, subtype: str, force: bool
) -> manifest.Mixture:
    rate = sample_rate or row.sample_rate
    stem = row.id.replace("/", "_")
    names = [f"{stem}_s{index + 1}.wav" for index in range(len(row.sources))]
    target = out / f"{stem}.wav"
    if force or not target.exists():
        result = render(row, rate)
        for name, voice in zip(names, result.sources, strict=True):
            audio.write(out / name, voice, rate, subtype)
        if result.noise is not None:
            audio.write(out / f"{stem}_noise.wav", result.noise, rate, subtype)
        audio.write(target, result.mixture, rate, subtype)
    frames = audio.info(target).frames
    voices = tuple(
        manifest.Source(path=name, frames=frames, speaker=source.speaker, gender=source.gender)
        for name, source in zip(names, row.sources, strict=True)
    )
    noise = manifest.Source(path=f"{stem}_noise.wav", frames=frames) if row.noise else None
    return manifest.Mixture(
        id=row.id,
        split=row.split,
        sample_rate=rate,
        mode=row.mode,
        frames=frames,
        sources=voices,
        noise=noise,
        mixture=target.name,
    )
