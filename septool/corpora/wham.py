"""WHAM! (Wichern et al., 2019): the mixtures of WSJ0-2mix in the noise of real rooms.

``wham_noise`` (from wham.whisper.ai) holds the noise in tr, cv and tt and, in ``metadata``, where in it speech
begins and every gain (``mix_param_meta_*.csv``, ``scaling_*.npz``); nothing has to be measured again.

In "max" the noise is kept whole and speech lies inside it: as in the scripts of WHAMR!; the first ones of WHAM!
cut the speech where it would have ended without the shift. The published files hold float samples: render
with ``--subtype FLOAT``. WHAMR! itself needs simulated rooms, and is not made.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from septool.corpora import base, wsj0mix
from septool.data.manifest import Mixture, Source, manifest_path
from septool.data.renderers import RATE
from septool.errors import ManifestError, UsageError


@dataclass(frozen=True)
class Setting:
    """What the metadata say of a mixture."""

    id: str
    start: int  # sample of the noise, at 16 kHz, at which speech begins
    voice_gains_db: tuple[float, float]
    voices_gain_db: float
    noise_gain_db: float


def read_settings(folder: Path, split: str, rate: int, mode: str) -> list[Setting]:
    """Read the metadata of a split.

    The archive's names are pickled, so they are taken from the table, of whose starts it has a copy to compare.
    """
    table, archive = folder / f"mix_param_meta_{split}.csv", folder / f"scaling_{split}.npz"
    kind = f"{rate // 1000}k_{mode}"
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = [row["utterance_id"].removesuffix(".wav") for row in rows]
        begins = [int(float(row["noise_samples_beginning_16k"])) for row in rows]
        with np.load(archive, allow_pickle=False) as arrays:
            starts = arrays["speech_start_sample_16k"].astype(int).tolist()
            gains = [
                (20 * np.log10(arrays[f"scaling_{name}_{kind}"])).round(10).tolist()
                for name in ("wsjmix", "wham_speech", "wham_noise")
            ]
    except (OSError, KeyError, ValueError) as error:
        raise ManifestError(f"{table} or {archive.name} beside it cannot be used: {error}") from None
    if starts != begins or any(len(gain) != len(names) for gain in gains):
        raise ManifestError(f"{archive} and {table.name} are not of the same mixtures; unpack wham_noise again")
    return [
        Setting(name, start, (voices[0], voices[1]), speech, noise)
        for name, start, voices, speech, noise in zip(names, starts, *gains, strict=True)
    ]


def prepare(
    source: Path,
    out: Path,
    *,
    noise: Path,
    split: str | None = None,
    sample_rate: int = 8000,
    mode: Literal["min", "max"] = "min",
    mix: Literal["clean", "both", "single"] = "both",
    jobs: int = 1,
) -> base.PreparedRows:
    """Build the manifests of WHAM!.

    Args:
        source: the folder of WSJ0.
        out: where the manifests will lie.
        noise: the wham_noise folder, which holds tr, cv, tt and metadata.
        split: some of tr, cv, tt.
        sample_rate: 8000 or 16000.
        mode: cut all to the shorter voice, or keep the noise whole.
        mix: clean (voices), both (voices and noise), single (first voice and noise).
        jobs: processes that look at files.
    """
    base.check_choice("--sample-rate", sample_rate, (8000, RATE))
    if mix == "clean" and mode == "max":
        raise UsageError("--mix clean has no noise, whose length is what --mode max keeps; give --mode min")
    base.require_folder(noise, "WHAM!'s tr, cv, tt and metadata")
    listed = {part: wsj0mix.read_list(2, part) for part in base.select_splits(split, dict.fromkeys(wsj0mix.SPLITS))}
    settings = {part: read_settings(noise / "metadata", part, sample_rate, mode) for part in listed}
    voices = {wsj0mix.name(mixture): mixture for part in listed.values() for mixture in part}
    for part, part_settings in settings.items():
        if strange := next((setting.id for setting in part_settings if setting.id not in voices), None):
            raise ManifestError(f"{noise}/metadata names {strange} in {part}, which is no mixture of WSJ0-2mix")
    paths = wsj0mix.locate(
        source, [voices[setting.id] for part_settings in settings.values() for setting in part_settings]
    )
    noises = (
        {}
        if mix == "clean"
        else {x.id: noise / part / f"{x.id}.wav" for part, part_settings in settings.items() for x in part_settings}
    )
    found, left_out = base.read_headers([*(source / path for path in paths.values()), *noises.values()], RATE, jobs)
    speech_root, noise_root = manifest_path(source, out), manifest_path(noise, out)

    def row(part: str, setting: Setting) -> Mixture | None:
        mixture = voices[setting.id]
        headers = [found.get(source / paths[voice.key]) for voice in mixture]
        lengths = [header.frames for header in headers if header]
        noise_row = found.get(noises[setting.id]) if noises else None
        if len(lengths) < 2 or (noises and not noise_row):
            return None
        sources = tuple(
            Source(
                path=(speech_root / paths[voice.key]).as_posix(),
                frames=frames,
                gain_db=gain_db,
                speaker=voice.key[1],
            )
            for voice, frames, gain_db in zip(mixture, lengths, setting.voice_gains_db, strict=True)
        )
        frames = noise_row.frames if noise_row and mode == "max" else min(lengths)
        return Mixture(
            id=setting.id,
            split=part,
            sample_rate=sample_rate,
            mode=mode,
            frames=math.ceil(frames * sample_rate / RATE),
            sources=sources[:1] if mix == "single" else sources,
            noise=noise_row
            and Source(
                path=(noise_root / part / f"{setting.id}.wav").as_posix(),
                start=setting.start,
                frames=noise_row.frames - setting.start,
                gain_db=setting.noise_gain_db,
            ),
            rendering="wham",
            voices_gain_db=setting.voices_gain_db,
        )

    title = f"wham-{sample_rate // 1000}k-{mode}-{mix}"
    parts = [
        base.ManifestPart.of_list(f"{part}-{title}", part, (row(part, setting) for setting in part_settings))
        for part, part_settings in settings.items()
    ]
    return base.PreparedRows(parts, left_out)


WHAM = base.Corpus(
    about="WSJ0-2mix in the noise of cafés and streets, by wham_noise/metadata (WHAMR! is not supported)",
    licence=f"{wsj0mix.LICENCE}, CC BY-NC 4.0 (noise)",
    size="14,096 recordings of WSJ0; 28,000 noises, 20,000 of them for tr",
    expects=f"{wsj0mix.EXPECTS}; --noise wham_noise/{{tr,cv,tt}}/*.wav, with wham_noise/metadata",
    prepare=prepare,
)
