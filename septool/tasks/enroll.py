"""Enrolling voices: embeddings of known speakers in one file."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from septool import audio, catalogue, checkpoints
from septool.batch.inputs import find_inputs, one_or_several
from septool.batch.outcomes import Failed
from septool.batch.stdio import PIPE
from septool.config import JsonDict
from septool.data.turns import read_rttm, rttm_field
from septool.device import choose_device
from septool.errors import AudioError, UsageError
from septool.files import make_folder, refuse_existing
from septool.inference.enrollment import (
    MAX_REFERENCE_S,
    Reference,
    check_reference,
    embed_references,
    load_reference,
    parse_reference,
    read_excerpts,
)
from septool.inference.voiceprints import (
    VOICEPRINT_RATE,
    Voiceprint,
    VoiceprintSet,
    check_voice_name,
    network_digest,
    write_voiceprints,
)
from septool.models import SPEAKER_MODEL
from septool.models.base import SpeakerEncoder
from septool.signal.turns import Turn, find_overlaps

SHORTEST_TURN_S = 0.5  # excerpts of speech that a voice is learned from; shorter ones are mostly noises


@dataclass(frozen=True)
class EnrolledVoice:
    """A voice that is kept."""

    name: str
    recordings: tuple[str, ...]
    seconds: float  # total length

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return asdict(self)


def enroll(
    inputs: str | Path | Sequence[str | Path],
    *,
    out: Path,
    name: str | None = None,
    activity: Path | None = None,
    speaker_model: str = SPEAKER_MODEL,
    device: str = "auto",
    force: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> list[EnrolledVoice]:
    """Keep what voices are known by.

    Args:
        inputs: recordings of one voice, or excerpts of them, ``FILE@START-END``; or folders: each sub-folder that has
            recordings is a voice of its name, and so are the recordings that lie in the folder itself.
        out: the file of voiceprints, ``.safetensors``.
        name: of the one voice; by default that of ``out``, or of the folder.
        activity: RTTM file of the one recording given: who speaks when, each of them a voice.
        speaker_model: the speaker network, by whose weights voices are known later.
        device: auto, cpu, cuda, cuda:N or mps.
        force: replace the file if it is there.
        report: callback for warnings.

    Returns:
        The voices that are in the file.

    Raises:
        UsageError: the request contradicts itself; nothing is done then.
        AudioError: a recording that no voice can be known by.
        CheckpointError: no such speaker network, or a damaged one.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out} has to end in .safetensors")
    names = [*map(str, one_or_several(inputs))]
    refuse_existing(out, force=force)
    if activity is None:
        groups = group_references(names, name or out.stem, named=name is not None, report=report)
    elif name is None and len(names) == 1:
        groups = solo_segments(activity, Path(names[0]))
    else:
        raise UsageError(f"--activity {activity} names the voices of one recording; give that alone")
    chosen = choose_device(device)
    make_folder(out.parent)
    checkpoint, path = catalogue.resolve_checkpoint(speaker_model)
    network, _ = checkpoints.load(path, SpeakerEncoder)
    network.listen_at(min(network.rate, VOICEPRINT_RATE))
    network.to(chosen)
    voiceprints, enrolled = [], []
    for voice, references in groups.items():
        if activity is None:
            samples = [load_reference(reference, network.rate, report) for reference in references]
        else:
            samples = [load_excerpts(references, network.rate, voice, report)]
        seconds = sum(map(len, samples)) / network.rate
        embedding = embed_references(network.embedding, samples, network.rate, chosen)[0].cpu().numpy()
        voiceprints.append(Voiceprint(voice, embedding, seconds))
        recordings = tuple(dict.fromkeys(str(reference.path) for reference in references))
        enrolled.append(EnrolledVoice(voice, recordings, round(seconds, 2)))
    write_voiceprints(out, VoiceprintSet(checkpoint, network_digest(network.embedding), network.rate, voiceprints))
    return enrolled


def group_references(
    inputs: Sequence[str], name: str, *, named: bool, report: Callable[[str], None]
) -> dict[str, list[Reference]]:
    """Return the references of each voice.

    Args:
        inputs: recordings and folders.
        name: of the voice that recordings are of.
        named: whether the user chose it.
        report: callback for what else folders hold.

    Raises:
        AudioError: a folder that cannot be listed.
        UsageError: there are none, or folders with a name of somebody else.
    """
    groups: dict[str, list[Reference]] = {}
    for text in inputs:
        if text == PIPE:
            raise UsageError("voices are learned from files; standard input is not one")
        if not Path(text).is_dir():
            groups.setdefault(name, []).append(parse_reference(text))
            continue
        found = find_inputs([text], report)
        for folder in found.unreadable:
            raise AudioError(Failed.of_folder(folder).error)
        for recording in found.recordings:
            inside = recording.path.relative_to(text).parts
            voice = inside[0] if len(inside) > 1 else (name if named else Path(text).resolve().name)
            groups.setdefault(voice, []).append(Reference(recording.path))
    if named and set(groups) - {name}:
        raise UsageError(f"--name {name} is for one voice; the folders have {', '.join(sorted(groups))}")
    for voice in groups:
        check_voice_name(voice)
    return groups


def solo_segments(activity: Path, recording: Path) -> dict[str, list[Reference]]:
    """Return the excerpts of a recording in which each person speaks and nobody else does.

    Args:
        activity: RTTM file.
        recording: that it is of.

    Raises:
        ManifestError: it is no RTTM file.
        UsageError: it is of several recordings, none of them this one, or somebody never speaks alone.
    """
    recordings = read_rttm(activity)
    turns = recordings.get(rttm_field(recording.stem))
    if not turns:
        listed = ", ".join(recordings) or "no recordings"
        raise UsageError(f"{activity} says nothing of {recording.stem}; it has {listed}")
    alone: dict[str, list[Reference]] = {turn.speaker: [] for turn in turns}
    overlaps = find_overlaps(turns)
    for turn in turns:
        start = turn.start
        for overlap in [*(other for other in overlaps if other.end > turn.start), Turn(turn.end, turn.end, "")]:
            end = min(overlap.start, turn.end)
            if end - start >= SHORTEST_TURN_S:
                alone[turn.speaker].append(Reference(recording, start, end))
            start = max(start, overlap.end)
    for voice, excerpts in alone.items():
        check_voice_name(voice)
        if not excerpts:
            raise UsageError(f"{activity}: {voice} never speaks alone for {SHORTEST_TURN_S:g} s; take its lines out")
    return alone


def load_excerpts(
    excerpts: Sequence[Reference], rate: int, voice: str, report: Callable[[str], None] = lambda _: None
) -> np.ndarray:
    """Read the longest excerpts of what one person says in one recording, a minute in all, ``[time]`` at ``rate`` Hz.

    Args:
        excerpts: of one recording.
        rate: Hz.
        voice: who says it.
        report: callback for warnings.

    Raises:
        AudioError: the recording cannot be read, ends before, or has too little of the voice.
    """
    path = excerpts[0].path  # the file of all excerpts
    info = audio.audio_info(path)
    used, missing = [], MAX_REFERENCE_S
    for _, start, end in sorted(excerpts, key=lambda excerpt: excerpt.start - (excerpt.end or 0)):
        first, last = round(start * info.rate), min(round((end or 0) * info.rate), info.frames)
        if last <= first:
            raise AudioError(f"{path} is {info.frames / info.rate:.1f} s long; {voice} is said to speak at {start:g} s")
        frames = min(last - first, round(missing * info.rate))
        used.append((first, frames))
        missing -= frames / info.rate
        if missing < SHORTEST_TURN_S:
            break
    joined = read_excerpts(path, rate, used, report)
    check_reference(joined, rate, f"what {voice} says alone in {path}")
    return joined
