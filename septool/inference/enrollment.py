"""Enrollment of a target voice: references, their checks and embeddings, and the estimator that extracts it."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from septool import audio
from septool.data import manifest
from septool.errors import AudioError, SeptoolError, UsageError
from septool.files import is_there
from septool.inference.dtype import computing_in
from septool.inference.findings import ChannelPowers
from septool.inference.level import check_finite_estimate, embed
from septool.inference.passes import extract_mean
from septool.models.base import Extractor
from septool.printable import printable
from septool.signal.levels import from_db, remove_dc

SILENCE_DB = -80.0  # a reference whose loudest frame lies below this has no voice in it
PAUSE_DB = 30.0  # frames this far below the loudest one are pauses
EXCERPT_SLACK_S = 0.1  # by which an excerpt may end behind its recording: whoever wrote its end has rounded
MIN_SPEECH_S = 1.0  # that a reference needs
MAX_REFERENCE_S = 60.0  # only the beginning of a longer reference is used


class KnownVoicesEstimator:
    """The estimates of voices known by ``embeddings [voice, embedding]`` in each segment, and the scores of each.

    With ``each_channel`` the scores of every segment are kept, to report them by channel; else the highest.
    """

    def __init__(
        self,
        model: Extractor,
        embeddings: Tensor,
        threshold: float | None,
        dtype: torch.dtype | None = None,
        passes: int = 1,
        *,
        each_channel: bool = False,
    ) -> None:
        if threshold is not None and not math.isfinite(threshold):
            raise UsageError(f"threshold is {threshold}; it is a score")
        self.model, self.embeddings, self.threshold = model, embeddings, threshold
        self.dtype, self.passes, self.each_channel = dtype, passes, each_channel
        self._scores: list[Sequence[float]] = []  # scores of each voice, by segment or the highest

    def __call__(self, mixture: Tensor) -> Tensor:
        """Map ``[batch, time]`` to ``[batch, voice, time]``; silence where the score is below the threshold."""
        with computing_in(self.dtype, mixture.device):
            voices, presence = extract_mean(self.model, mixture, self.embeddings, self.passes)
        voices, presence = voices.float(), presence.float()
        check_finite_estimate(presence)  # voices are checked where they are joined
        if self.threshold is not None:
            voices = voices.where(presence[..., None] >= self.threshold, 0.0)
        # Last: what memory does not suffice for is tried again, and its scores count once.
        self._scores += presence.tolist()
        if not self.each_channel:
            self._scores = [*self.presence()]
        return voices

    def presence(self, channels: int = 1) -> list[tuple[float, ...]]:
        """Return the highest score of each voice in any segment, by channel; segments had so many of them.

        Before the first segment there are none.
        """
        return [
            tuple(max(scores) for scores in zip(*self._scores[channel::channels], strict=True))
            for channel in range(channels)
        ]


class Reference(NamedTuple):
    """A recording of the wanted voice alone, or an excerpt of one."""

    path: Path
    start: float = 0.0  # s
    end: float | None = None  # s; to the end of the recording


def parse_reference(text: str | Path) -> Reference:
    """Read ``FILE`` or ``FILE@START-END``, in seconds.

    Raises:
        UsageError: it has no such time range.
    """
    path, at, times = str(text).rpartition("@")
    if not at or is_there(Path(text)) or not is_there(Path(path)):
        return Reference(Path(text))
    try:
        start, end = map(float, times.split("-"))
    except ValueError:
        raise UsageError(f"{text}: {times!r} is not a time range; write it in seconds, such as @12.5-19") from None
    if not 0 <= start < end < math.inf:
        raise UsageError(f"{text}: an excerpt ends after it starts; write it in seconds, such as @12.5-19")
    return Reference(Path(path), start, end)


def load_reference(reference: Reference, rate: int, report: Callable[[str], None] = lambda _: None) -> np.ndarray:
    """Read a reference or an excerpt of one, ``[time]`` at ``rate`` Hz; see :func:`read_reference`."""
    if reference.end is None:
        return read_reference(reference.path, rate, report=report)
    info = audio.audio_info(reference.path)
    first, last = (round(time * info.rate) for time in (reference.start, reference.end))
    if first >= info.frames:
        raise AudioError(
            f"{printable(reference.path)} is {info.frames / info.rate:.1f} s long; it has nothing from "
            f"{reference.start:g} s on"
        )
    if last > info.frames + EXCERPT_SLACK_S * info.rate:
        report(
            f"{printable(reference.path)} is {info.frames / info.rate:.1f} s long; the excerpt ends there, "
            f"not at {reference.end:g} s"
        )
    return read_reference(reference.path, rate, first, min(last, info.frames) - first, report, info=info)


def read_reference(
    path: Path,
    rate: int,
    start: int = 0,
    frames: int = -1,
    report: Callable[[str], None] = lambda _: None,
    *,
    info: audio.AudioInfo | None = None,
) -> np.ndarray:
    """Read a recording of the wanted voice, ``[time]`` at ``rate`` Hz.

    Args:
        path: the recording.
        rate: Hz.
        start: samples of the file to skip.
        frames: samples of the file to read; all by default.
        report: callback for warnings.
        info: what the file holds, where that is known; a long mp3 is walked through for it.

    Raises:
        AudioError: it cannot be read, or it holds too little of a voice.
    """
    header = info or audio.audio_info(path)
    longest = min(round(MAX_REFERENCE_S * header.rate), header.frames - start)
    cut = longest < (header.frames - start if frames < 0 else frames)
    voice = read_excerpts(path, rate, [(start, longest if frames < 0 else min(frames, longest))], report)
    check_reference(
        voice, rate, f"reference {printable(path)}" + (f" (its first {MAX_REFERENCE_S:g} s)" if cut else "")
    )
    return voice


def read_excerpts(
    path: Path, rate: int, excerpts: Sequence[tuple[int, int]], report: Callable[[str], None] = lambda _: None
) -> np.ndarray:
    """Read excerpts of a recording, one after the other, as one channel ``[time]`` at ``rate`` Hz.

    Args:
        path: the recording.
        rate: Hz.
        excerpts: the first sample of each, and how many; as many as there are, if it is -1.
        report: callback for warnings.

    Raises:
        AudioError: it cannot be read, or ends before.
    """
    parts = [audio.read_audio(path, start, frames) for start, frames in excerpts]
    channels = len(parts[0][0])
    powers = ChannelPowers()  # powers of what is used, not of the whole recording
    for samples, _ in parts:
        powers.add(samples)
    channel = powers.loudest_if_cancelling() if channels > 1 else None
    if channel is not None:
        report(f"{printable(path)}: its channels cancel each other; channel {channel}, the loudest, is used")
    return np.concatenate(
        [audio.resample(audio.to_mono(samples, channel), file_rate, rate) for samples, file_rate in parts]
    )


def check_reference(voice: np.ndarray, rate: int, name: str) -> None:
    """Refuse a recording ``[time]`` at ``rate`` Hz that a voice cannot be known by.

    Raises:
        AudioError: it is silent, damaged, or holds too little of a voice.
    """
    audio.check_finite(voice, name)
    spoken = speech_seconds(voice, rate)
    if spoken is None:
        raise AudioError(f"{name} is silent; give a recording in which the voice speaks")
    if spoken < MIN_SPEECH_S:
        raise AudioError(f"{name} has {spoken:.1f} s of speech; {MIN_SPEECH_S:g} s is needed, 3 s or more are better")


def speech_seconds(voice: np.ndarray, rate: int) -> float | None:
    """Return how long a recording ``[time]`` is without its pauses; None if it is silent."""
    if not len(voice):
        return None
    size = rate // 100
    frames = np.resize(remove_dc(voice), (max(len(voice) // size, 1), size))
    levels = np.sqrt(np.mean(np.square(frames), axis=1))
    if levels.max() < from_db(SILENCE_DB):
        return None
    return float((levels > levels.max() * from_db(-PAUSE_DB)).sum()) / 100


@torch.inference_mode()
def embed_references(speaker: nn.Module, references: Sequence[np.ndarray], rate: int, device: torch.device) -> Tensor:
    """Return what a speaker network knows a voice by: the mean over its references, weighted by how long each speaks.

    Args:
        speaker: maps ``[batch, time]`` to ``[batch, embedding]``.
        references: ``[time]`` each, none of them silent.
        rate: of the references, Hz.
        device: where the network is.

    Returns:
        ``[1, embedding]``.

    Raises:
        SeptoolError: the network returned NaN or infinity.
    """
    waves = [torch.from_numpy(voice)[None].to(device) for voice in references]
    seconds = torch.tensor([speech_seconds(voice, rate) or 0.0 for voice in references], device=device)
    embedding = torch.cat([embed(speaker, wave) for wave in waves])  # [reference, embedding]
    embedding = (embedding * (seconds / seconds.sum())[:, None]).sum(0, keepdim=True)
    check_finite_estimate(embedding)
    return embedding


def read_enrollment(row: manifest.Mixture, rate: int) -> np.ndarray:
    """Read the enrollment of a manifest's row, ``[time]`` at ``rate`` Hz.

    Raises:
        SeptoolError: it has none, or one that a voice cannot be known by.
    """
    enrollment = row.enrollment
    if enrollment is None:
        raise SeptoolError(f"mixture {row.id} has no enrollment")
    return read_reference(row.locate(enrollment.path), rate, enrollment.start, enrollment.frames)
