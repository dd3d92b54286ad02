"""WSJ0-2mix and WSJ0-3mix (Hershey et al., 2016): WSJ0 by the published lists.

The lists name wav files; whatever holds them, converted or as on the discs, is searched for
``si_tr_s/01t/01to030v`` and so on, with the suffix wav, flac or wv1 (in this order, upper case or lower).
``wv1`` is the close microphone; ``wv2`` is another recording, with which mixtures differ by decibels.

Mixtures are made as the original MATLAB script makes them (:func:`septool.data.renderers.render_wsj0_mix`).
"""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from septool import audio
from septool.corpora import base, lists
from septool.data.manifest import Mixture, Source, manifest_path
from septool.data.renderers import RATE
from septool.errors import SeptoolError

SPLITS = ("tr", "cv", "tt")
FOLDERS = ("si_tr_s", "si_dt_05", "si_et_05")
SUFFIXES = (".wav", ".flac", ".wv1")
LICENCE = "LDC (WSJ0, LDC93S6A), Apache 2.0 (lists)"
RECORDINGS = {2: "14,096", 3: "14,499"}
EXPECTS = "the folder above si_tr_s, si_dt_05 and si_et_05, at any depth: .../si_tr_s/SPEAKER/*.{wav,flac,wv1}, 16 kHz"


@dataclass(frozen=True)
class Voice:
    """A recording of the list, as ``(folder, speaker, utterance)``, and its level in dB as it is written there."""

    key: tuple[str, str, str]
    level: str


def read_list(voices: int, split: str) -> list[list[Voice]]:
    """Return the voices of each mixture of a split."""
    mixtures = []
    for line in lists.read_list(f"wsj0_mix_{voices}_spk_{split}.txt").splitlines():
        words = line.split()
        mixture = []
        for path, level in zip(words[::2], words[1::2], strict=True):
            folder, speaker, file = path.split("/")[-3:]
            mixture.append(Voice((folder, speaker, file.removesuffix(".wav")), level))
        mixtures.append(mixture)
    return mixtures


def name(voices: list[Voice]) -> str:
    """Return what the original script calls a mixture; the lists have the five digits that MATLAB prints."""
    return "_".join(f"{voice.key[-1]}_{voice.level}" for voice in voices)


def recordings(root: Path) -> dict[tuple[str, str, str], Path]:
    """Return the recordings below a folder by ``(folder, speaker, utterance)``, relative to it."""
    base.require_folder(root, "WSJ0's si_tr_s, si_dt_05 and si_et_05")
    found: dict[tuple[str, str, str], Path] = {}
    listed = audio.find_audio_files(root)
    for path in (*listed.files, *listed.left_out):  # .wv1 is reported as left out elsewhere
        above, speaker = path.parts[-3:-1] if len(path.parts) > 2 else ("", "")
        if above.lower() not in FOLDERS or path.suffix.lower() not in SUFFIXES:
            continue
        relative = path.relative_to(root)
        if len(relative.parts) < 3:
            raise SeptoolError(f"{root} lies in WSJ0 or is one of its folders; give the folder above {above}")
        key = (above.lower(), speaker.lower(), path.stem.lower())
        if key not in found or _rank(relative) < _rank(found[key]):
            found[key] = relative
    return found


def _rank(path: Path) -> tuple[int, str]:
    return SUFFIXES.index(path.suffix.lower()), path.as_posix()


def locate(root: Path, mixtures: list[list[Voice]]) -> dict[tuple[str, str, str], Path]:
    """Return where each recording is, relative to the root, or would be if it were there."""
    known = recordings(root)
    above = next((path.parents[2] for path in known.values()), Path("wsj0"))
    wanted = {voice.key for voices in mixtures for voice in voices}
    return {key: known.get(key, above.joinpath(*key).with_suffix(".wav")) for key in wanted}


def prepare(
    voices: int,
    source: Path,
    out: Path,
    *,
    split: str | None = None,
    sample_rate: int = 8000,
    mode: Literal["min", "max"] = "min",
    jobs: int = 1,
) -> base.PreparedRows:
    """Build the manifests of WSJ0-mix.

    Args:
        voices: speakers in a mixture, 2 or 3.
        source: the folder of WSJ0.
        out: where the manifests will lie.
        split: some of tr, cv, tt.
        sample_rate: 8000 or 16000.
        mode: cut to the shortest voice, or pad to the longest.
        jobs: processes that look at files.
    """
    base.check_choice("--sample-rate", sample_rate, (8000, RATE))
    mixtures = {part: read_list(voices, part) for part in base.select_splits(split, dict.fromkeys(SPLITS))}
    paths = locate(source, [mixture for part in mixtures.values() for mixture in part])
    found, left_out = base.read_headers((source / path for path in paths.values()), RATE, jobs)
    root = manifest_path(source, out)

    def row(part: str, mixture: list[Voice]) -> Mixture | None:
        lengths = [found[path].frames for voice in mixture if (path := source / paths[voice.key]) in found]
        if len(lengths) < voices:
            return None
        return Mixture(
            id=name(mixture),
            split=part,
            sample_rate=sample_rate,
            mode=mode,
            frames=math.ceil((min if mode == "min" else max)(lengths) * sample_rate / RATE),
            sources=tuple(
                Source(
                    path=(root / paths[voice.key]).as_posix(),
                    frames=frames,
                    gain_db=float(voice.level),
                    speaker=voice.key[1],
                )
                for voice, frames in zip(mixture, lengths, strict=True)
            ),
            rendering="wsj0-mix",
        )

    title = f"wsj0-{voices}mix-{sample_rate // 1000}k-{mode}"
    parts = [
        base.ManifestPart.of_list(f"{part}-{title}", part, (row(part, mixture) for mixture in listed))
        for part, listed in mixtures.items()
    ]
    return base.PreparedRows(parts, left_out)


def _corpus(voices: int) -> base.Corpus:
    return base.Corpus(
        about=f"{voices} voices of the Wall Street Journal corpus; published lists",
        licence=LICENCE,
        size=f"{RECORDINGS[voices]} recordings",
        expects=EXPECTS,
        prepare=partial(prepare, voices),
    )


WSJ0_2MIX, WSJ0_3MIX = _corpus(2), _corpus(3)
