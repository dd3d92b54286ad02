"""Mixing: two recordings into one, or every row of a manifest into files."""

import math
import tempfile
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from septool import audio
from septool.atomic import atomic_write_group
from septool.batch.stdio import PIPE, check_stdout, copy_to_stdout
from septool.config import JsonDict
from septool.data import manifest
from septool.data.mixing import render_mixture
from septool.data.renderers import pad_or_trim
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, refuse_existing, sha256_of
from septool.inference.findings import Caveat, caveats_of_file
from septool.printable import printable
from septool.signal.levels import from_db, to_db
from septool.tasks.rendering import (
    RenderedRow,
    Rendering,
    RowKind,
    check_rendering,
    check_subtype,
    check_targets,
    render_rows,
)

SCALED_PEAK = 0.9  # peak of what would go over full scale otherwise

MAX_RESAMPLING_LOSS_DB = 60.0  # a recording that loses so much at another rate has nothing below half of that

PIPED = "mixture.wav"  # what names the voices of a mixture that goes to standard output


@dataclass(frozen=True)
class Mixed:
    """A mixture that was written."""

    id: str
    mixture: str
    sources: tuple[str, ...]
    seconds: float
    scaled_db: float  # gain on everything that kept the peak below full scale
    findings: tuple[Caveat, ...] = ()  # what its recordings were found to be: cut off, damaged

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return asdict(self) | {"findings": [finding.row() for finding in self.findings]}


@dataclass(frozen=True)
class RenderedManifest:
    """A manifest that was rendered to files."""

    manifest: str  # whose rows point at the files
    sha256: str
    source_sha256: str  # hash of the manifest that was rendered
    failed: tuple[str, ...]  # a line for each row that could not be
    scaled_db: dict[str, float]  # by id, of rows rendered now: gain on all of it that kept its peak below full scale


def mix_files(
    inputs: Sequence[Path],
    *,
    out: Path,
    snr: Sequence[float] = (0.0,),
    mode: Literal["min", "max"] = "min",
    sample_rate: int | None = None,
    sources: Path | None = None,
    subtype: str = "PCM_16",
    force: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Mixed:
    """Mix recordings at given level differences.

    Every voice is first brought to the level (RMS) of the first one; voice n + 1 then stands
    ``snr[n]`` dB *below* the first. If the sum would go over full scale, everything is scaled down to a
    peak of 0.9 together, so the sources still add up to the mixture.

    Args:
        inputs: two or more files; several channels are averaged.
        out: the mixture's file; ``-`` is standard output, as a wav file.
        snr: level of the first voice over each further one, in dB; one value serves all.
        mode: cut to the shortest, or pad to the longest.
        sample_rate: Hz of the mixture; the first file's by default.
        sources: folder for the voices as they are in the mixture, ``{stem}_s1.wav`` and so on.
        subtype: PCM_16, or what comes nearest in the format of ``out``; or FLOAT, where that has float samples.
        force: replace files that are there.
        report: callback for warnings.
    """
    if len(inputs) < 2:
        raise UsageError("mixing takes at least two files (or one manifest, a .jsonl)")
    if lists := [path for path in inputs if path.suffix == ".jsonl"]:
        raise UsageError(f"{lists[0]} is a manifest, which is rendered by itself; name no other file")
    if len(snr) not in (1, len(inputs) - 1):
        needed = "one value" if len(inputs) == 2 else f"{len(inputs) - 1} values, or one for all,"
        raise UsageError(f"{len(inputs)} files take {needed} of --snr, not {len(snr)}")
    if not all(map(math.isfinite, snr)):
        raise UsageError(f"--snr {' '.join(map(str, snr))} is not a level in dB")
    if not all(abs(db) <= manifest.MOST_DB for db in snr):
        raise UsageError(f"--snr is {', '.join(f'{db:g}' for db in snr)}; it lies within {manifest.MOST_DB:g} dB")
    check_subtype(subtype)
    piped = str(out) == PIPE
    check_stdout(str(out))
    if not piped:
        audio.format_of(out)
        if subtype == "FLOAT" and not audio.has_float(out):
            raise UsageError(f"--subtype FLOAT takes a format with float samples, such as wav; --out is {out}")
    voices = _voice_files(Path(PIPED) if piped else out, sources, len(inputs))
    check_targets(voices if piped else [out, *voices], inputs, out)
    findings: list[Caveat] = []
    recordings = [_read_recording(path, report, findings) for path in inputs]
    rate = sample_rate or recordings[0][1]
    voices = [_resample(path, *recording, rate) for path, recording in zip(inputs, recordings, strict=True)]
    first = _rms(voices[0])
    below = list(snr) * (len(inputs) - 1) if len(snr) == 1 else list(snr)
    voices = [voices[0]] + [
        voice * np.float32(first / _rms(voice) * from_db(-db)) for voice, db in zip(voices[1:], below, strict=True)
    ]
    lengths = [len(voice) for voice in voices]
    frames = min(lengths) if mode == "min" else max(lengths)
    parts = np.stack([pad_or_trim(voice, frames) for voice in voices])
    gain = headroom(parts)
    parts *= np.float32(gain)
    if not piped:
        mixed = write_mixture(parts, rate, out, sources, subtype=subtype, force=force, gain=gain)
        return replace(mixed, findings=tuple(findings))
    with tempfile.TemporaryDirectory(prefix="septool-") as folder:
        path = Path(folder) / PIPED
        mixed = write_mixture(parts, rate, path, sources, subtype=subtype, force=force, gain=gain)
        copy_to_stdout(path)
    return replace(mixed, mixture=PIPE, findings=tuple(findings))


def _read_recording(path: Path, report: Callable[[str], None], findings: list[Caveat]) -> tuple[np.ndarray, int]:
    """Read a recording to mix, ``[time]``, and its rate in Hz; what it is found to be goes to ``findings``."""
    with audio.open_audio(path) as file:
        samples = file.read()
        if not file.position:
            raise file.empty()
        for caveat in caveats_of_file(file.findings, file.name):
            findings.append(caveat)
            report(caveat.text)
        mono = audio.to_mono(samples)
        if not np.ptp(mono):
            fault = "is silent" if not np.ptp(samples) else "has channels that cancel each other"
            raise SeptoolError(f"{file.name} {fault}, so it has no level to set")
        if file.channels > 1:
            report(f"{file.name}: {file.channels} channels were averaged to one")
        return mono, file.rate


def _resample(path: Path, samples: np.ndarray, file_rate: int, rate: int) -> np.ndarray:
    """Bring a recording to a rate in Hz, of which something has to be left."""
    voice = audio.resample(samples, file_rate, rate)
    if not len(voice) or _rms(voice) < from_db(-MAX_RESAMPLING_LOSS_DB) * _rms(samples):
        left = "silent" if len(voice) else "shorter than a sample"
        raise SeptoolError(f"{printable(path)} is {left} at {rate} Hz, so it has no level to set")
    return voice


def _rms(voice: np.ndarray) -> float:
    """Return the level without an offset, which is no sound."""
    return float(np.std(voice, dtype=np.float64))


def headroom(parts: np.ndarray) -> float:
    """Gain that keeps the sum and every part of ``[part, time]`` within full scale: 1, or down to SCALED_PEAK."""
    peak = max(float(np.abs(parts.sum(0)).max()), float(np.abs(parts).max()))
    return SCALED_PEAK / peak if peak > 1 else 1.0


def _voice_files(out: Path, sources: Path | None, count: int) -> list[Path]:
    """Return the files of a mixture's voices in a folder, if there is one."""
    return [sources / f"{out.stem}_s{index + 1}{out.suffix}" for index in range(count)] if sources else []


def write_mixture(
    parts: np.ndarray, rate: int, out: Path, sources: Path | None, *, subtype: str, force: bool, gain: float
) -> Mixed:
    """Write the sum of ``parts [source, time]`` to ``out``, and the parts to a folder if one is given."""
    files = _voice_files(out, sources, len(parts))
    for path in [out, *files]:
        refuse_existing(path, force=force)
        make_folder(path.parent)
    signals = [parts.sum(0, dtype=np.float32), *(parts if files else ())]
    with atomic_write_group([out, *files]) as partials:  # a mixture never stands beside voices of another
        for partial_path, path, samples in zip(partials, [out, *files], signals, strict=True):
            audio.encode_audio(partial_path, samples, rate, subtype, path)
    scaled_db = round(to_db(gain), 2)
    return Mixed(out.stem, str(out), tuple(map(str, files)), parts.shape[1] / rate, scaled_db)


def mix_manifest(
    source: Path,
    *,
    out: Path,
    sample_rate: int | None = None,
    subtype: str = "PCM_16",
    force: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
    report: Callable[[int, int], None] = lambda *_: None,
) -> RenderedManifest:
    """Render every row of a manifest to ``{id}.wav``, ``{id}_s1.wav``, ... and a manifest beside them.

    Rows that are there already are left as they are, so a stopped run resumes; what is there of
    another row, rate or subtype is refused.

    Args:
        source: the manifest.
        out: folder of the files.
        sample_rate: Hz instead of each row's own.
        subtype: PCM_16 (rounds; a row whose peak goes over full scale is scaled down as a whole) or FLOAT (the exact
            samples).
        force: render again what is there.
        jobs: processes; any number writes the same files.
        cluster: ``local:N`` or the address of a dask scheduler, whose workers take their place.
        report: called with the number done, of how many.
    """
    check_rendering(source, out, subtype)
    rows = sorted(manifest.read_manifest(source), key=lambda row: row.id)
    settings = Rendering(out, sample_rate, subtype, force, jobs, cluster, report)
    made = render_rows(MIXTURES, rows, source, settings)
    return RenderedManifest(str(made.path), sha256_of(made.path), made.digest, tuple(made.failed), made.scaled_db)


def _targets(row: manifest.Mixture, out: Path) -> list[Path]:
    """Return the files of a row: the mixture, its voices, and the noise if there is some."""
    stem = manifest.file_stem(row.id)
    voices = [f"{stem}_s{index + 1}" for index in range(len(row.sources))]
    return [out / f"{name}.wav" for name in (stem, *voices, *([f"{stem}_noise"] if row.noise else []))]


def _render_row(
    row: manifest.Mixture, *, out: Path, sample_rate: int | None, subtype: str, outdated: Set[str]
) -> RenderedRow[manifest.Mixture] | SeptoolError:
    rate = sample_rate or row.sample_rate
    target, *files = _targets(row, out)
    names = [path.name for path in files]
    gain = 1.0
    try:
        if row.id in outdated or not all(path.exists() for path in (target, *files)):
            result = render_mixture(row, rate)
            parts = np.stack([*result.sources] if result.noise is None else [*result.sources, result.noise])
            mixture = result.mixture
            if subtype != "FLOAT" and row.rendering is None and row.mixture is None:
                gain = headroom(parts)
            if gain != 1:  # the published scripts have rules of their own, and recordings are as they are
                parts, mixture = parts * np.float32(gain), mixture * np.float32(gain)
            # Together, so that a mixture never stands beside voices of another rendering.
            with atomic_write_group([target, *files]) as partials:
                for path, part in zip(partials, (mixture, *parts), strict=True):
                    audio.encode_audio(path, part, rate, subtype, target)
        header = audio.audio_info(target)
    except SeptoolError as error:
        return error
    voices = tuple(
        replace(source, path=name, start=0, frames=header.frames, gain_db=0.0, speed=1.0)
        for name, source in zip(names, row.sources, strict=False)
    )
    enrollment = row.enrollment
    if enrollment is not None:
        enrollment = replace(enrollment, path=manifest.manifest_path(row.locate(enrollment.path), out).as_posix())
    files = manifest.Mixture(
        id=row.id,
        split=row.split,
        sample_rate=rate,
        mode=row.mode,
        frames=header.frames,
        sources=voices,
        noise=manifest.Source(path=names[-1], frames=header.frames) if row.noise else None,
        mixture=target.name,
        enrollment=enrollment,
        room=row.room,
    )
    return RenderedRow(files, round(to_db(gain), 2))


MIXTURES = RowKind[manifest.Mixture](
    called="rows",
    list_name="mixtures.jsonl",
    read=manifest.read_manifest,
    to_dict=manifest.row_to_dict,
    targets=_targets,
    render=_render_row,
    dump=manifest.dump_manifest,
)
