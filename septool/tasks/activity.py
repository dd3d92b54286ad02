"""Diarization of recordings, without writing voices."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from septool.atomic import atomic_write
from septool.config import JsonDict
from septool.conversation.networks import load_conversation_networks
from septool.conversation.people import parse_count
from septool.conversation.recording import diarize_file, plan_activity
from septool.data.turns import FORMATS, Turn, format_activity
from septool.device import choose_device
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, refuse_existing
from septool.inference.batch import Progress
from septool.inference.findings import Caveat, WithFindings, report_caveats
from septool.inference.outcomes import Failed, Skipped
from septool.inference.paths import PIPE, Input, find_inputs, one_or_several
from septool.inference.stdin import stdin_as_file
from septool.models import SPEAKER_MODEL


@dataclass(frozen=True, kw_only=True)
class FoundActivity(WithFindings):
    """Who speaks when in one recording."""

    input: str
    output: str  # file, - for standard output
    text: str  # what is in it
    model: str
    seconds: float  # of audio
    speakers: tuple[str, ...]
    spoken: tuple[float, ...]  # seconds of speech of each
    turns: tuple[Turn, ...]
    findings: tuple[Caveat, ...] = ()  # what a listener may want to know

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        values = asdict(self) | {"turns": [turn._asdict() for turn in self.turns]}
        values["findings"] = [finding.row() for finding in self.findings]
        del values["text"]
        return values


def find_activity(
    inputs: str | Path | Sequence[str | Path],
    *,
    model: str = "galr",
    speaker_model: str = SPEAKER_MODEL,
    who: str | None = None,
    speakers: str = "auto",
    format: str = "rttm",
    out: str = ".",
    device: str = "auto",
    channel: int | None = None,
    force: bool = False,
    skip_existing: bool = False,
    report: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Iterator[FoundActivity | Failed | Skipped]:
    """Find who speaks when; one result for each recording, failed ones among them.

    Args:
        inputs: files, folders (searched recursively), or ``-`` for standard input.
        model: separator with two outputs, by the name of a checkpoint or of a model, or a ``.safetensors`` file.
        speaker_model: the speaker network that voices are told apart by.
        who: files of voiceprints; people who sound like one of them are called by its name.
        speakers: how many people there are, ``auto``, ``N`` or ``N-M``.
        format: rttm, json, audacity or webvtt.
        out: folder for the files, made if missing; ``-`` leaves the text to the caller.
        device: auto, cpu, cuda, cuda:N or mps.
        channel: the one to listen to, from 1; all are averaged by default.
        force: replace files that are there.
        skip_existing: skip recordings whose file is there.
        report: callback for warnings.
        progress: callback for how far a recording is.

    Raises:
        UsageError: the request contradicts itself; nothing is done then.
        CheckpointError: no such model, or a damaged one.
    """
    if format not in FORMATS:
        raise UsageError(f"--format is {format!r}; it can be {', '.join(FORMATS)}")
    count, inside = parse_count(speakers), find_inputs([*map(str, one_or_several(inputs))], report)
    targets = {} if out == PIPE else plan_activity(inside.recordings, out, format)
    networks = load_conversation_networks(model, speaker_model, choose_device(device))
    said: set[Caveat] = set()
    voices = networks.find_voices(who)

    def find(recording: Input, path: Path, target: Path | None) -> FoundActivity:
        with networks.start(count, voices) as conversation:
            estimate, found = diarize_file(
                path,
                conversation,
                channel=channel,
                progress=lambda done, total: progress(recording.display_name, done, total),
            )
        caveats = report_caveats(
            recording.display_name, estimate, channel=channel, model=networks.name, model_rate=networks.rate
        )
        for caveat in caveats:
            if caveat not in said:
                report(caveat.text)
            if caveat.recording is None:  # holds for all
                said.add(caveat)
        text = format_activity(format, found.turns, recording.stem)
        if target is not None:
            with atomic_write(target) as partial:
                partial.write_text(text, encoding="utf-8")
        return FoundActivity(
            input=recording.label,
            output=PIPE if target is None else str(target),
            text=text,
            model=networks.name,
            seconds=estimate.info.frames / estimate.info.rate,
            speakers=found.speakers,
            spoken=tuple(round(seconds, 2) for seconds in found.seconds),
            turns=tuple(found.turns),
            findings=tuple(caveats),
        )

    for recording in inside.recordings:
        target = targets.get(recording.label)
        path = recording.path
        try:
            if target is not None and target.exists() and skip_existing:
                yield Skipped(recording.label, (str(target),))
                continue
            if target is not None:
                refuse_existing(target, force=force)
                make_folder(target.parent)  # before the work, not after it
            with stdin_as_file() if recording.label == PIPE else nullcontext(path) as path:
                found = find(recording, path, target)
            yield found
        except BrokenPipeError:
            raise
        except (SeptoolError, OSError) as error:
            yield Failed.of_error(recording, error, path)
    yield from map(Failed.of_folder, inside.unreadable)
