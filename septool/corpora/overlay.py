"""Speech over music or noise without a published list: draws the clip, its position and its level.

Everything drawn for an utterance depends on the seed and the utterance's name alone.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from septool import audio, workers
from septool.corpora import base
from septool.corpora.folder import assign_splits, is_utf8
from septool.errors import AudioError, SeptoolError, UsageError
from septool.signal.levels import EMPTY_DB

ATTEMPTS = 10  # at an excerpt that is not silent


@dataclass(frozen=True)
class Clip:
    """A recording of music or noise."""

    path: Path  # below its folder
    rate: int
    frames: int


@dataclass(frozen=True)
class Speech:
    """An utterance to put over a clip."""

    id: str
    path: Path
    seconds: float


@dataclass(frozen=True)
class ClipExcerpt:
    """The part of a clip that goes with an utterance, and its gain."""

    clip: Clip
    start: int
    frames: int
    gain_db: float


def find_clips(folder: Path, shares: Mapping[str, float], seed: int) -> tuple[dict[str, list[Clip]], list[str]]:
    """Deal the clips of a folder to the splits, and say which cannot be read."""
    base.require_folder(folder, "the recordings of music or noise")
    found: list[Clip] = []
    left_out: list[str] = []
    for path in audio.find_audio_files(folder).files:
        if not is_utf8(str(path.relative_to(folder))):
            left_out.append(f"{path} has a name that is not UTF-8")
            continue
        try:
            header = audio.audio_info(path)
        except AudioError as error:
            left_out.append(str(error))
        else:
            found.append(Clip(path.relative_to(folder), header.rate, header.frames))
    splits = assign_splits([clip.path.as_posix() for clip in found], shares, seed)
    dealt = {split: [clip for clip in found if splits[clip.path.as_posix()] == split] for split in shares}
    for split, part in dealt.items():
        if not part:
            raise SeptoolError(f"{folder} has {len(found)} recordings, too few for a part in every split ({split})")
    return dealt, left_out


def sample_overlays(
    utterances: Sequence[Speech], folder: Path, part: list[Clip], snr: tuple[float, float], seed: int, jobs: int
) -> list[ClipExcerpt | str]:
    """Draw an excerpt for each utterance, or say why there is none.

    Args:
        utterances: the speech.
        folder: where the clips are.
        part: the clips to draw from.
        snr: range of the utterance's level over the excerpt, dB.
        seed: another seed draws differently.
        jobs: processes that read levels.
    """
    if not snr[0] <= snr[1]:
        raise UsageError(f"--snr {snr[0]:g} {snr[1]:g} is no range; give the lower end first")
    return list(workers.each(partial(_excerpt, folder, part, snr, seed), utterances, jobs))


def _excerpt(folder: Path, part: list[Clip], snr: tuple[float, float], seed: int, speech: Speech) -> ClipExcerpt | str:
    level = base.recording_level_db(speech.path)
    if not level > EMPTY_DB:
        return f"{speech.path} is silent or damaged; no mixture uses it"
    random = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(speech.id.encode()).digest()[:8])])
    over = random.uniform(*snr)
    long = [clip for clip in part if clip.frames >= speech.seconds * clip.rate] or part
    for _ in range(ATTEMPTS):
        clip = long[int(random.integers(len(long)))]
        frames = min(round(speech.seconds * clip.rate), clip.frames)
        start = int(random.integers(clip.frames - frames + 1))
        found = base.recording_level_db(folder / clip.path, start, frames)
        if found > EMPTY_DB:
            return ClipExcerpt(clip, start, frames, round(level - over - found, 4))
    return f"{speech.path}: {ATTEMPTS} excerpts drawn for it are silent or damaged; no mixture uses it"
