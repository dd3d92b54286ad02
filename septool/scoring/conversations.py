"""Scoring of separated conversations: diarization, speaker counting, and the SI-SNRi of each track."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from septool.config import JsonDict
from septool.data.conversations import RenderedConversation
from septool.errors import SeptoolError
from septool.metrics import Measure
from septool.metrics.diarization import diarization_error
from septool.metrics.si_snr import si_snr
from septool.scoring.items import Item
from septool.signal.turns import Turn

COLLAR_S = 0.25  # around boundaries, for the second of the two diarization error rates
_DER = "missed speech, false alarms and confusion against all reference speech, overlaps counted once per speaker"
_ALL = "pooled over conversations, as by md-eval and dscore"
MEASURES = {  # measures of a whole conversation
    measure.name: measure
    for measure in (
        Measure("der", "%", better="lower", definition=f"{_DER}; no collar; {_ALL}", weight="speech-seconds"),
        Measure(
            "der-collar",
            "%",
            better="lower",
            definition=f"{_DER}; collar of {COLLAR_S:g} s around boundaries; {_ALL}",
            weight="speech-seconds-collar",
        ),
        Measure("count-right", "%", definition="conversations whose number of speakers was found"),
        Measure(
            "wrong-track",
            "%",
            better="lower",
            definition="of each speaker's voice in all tracks, by projection onto it, the part in another's",
        ),
    )
}


@dataclass(frozen=True)
class ConversationScores:
    """What became of one conversation."""

    id: str
    speakers: int  # who there are
    found: int  # who were found
    der: float  # %, no collar
    der_collar: float  # %, COLLAR_S left out on both sides of every boundary
    speech: float  # s of reference speech, each speaker's counted
    speech_collar: float  # the same with the collar
    missed: float  # %, of reference speech, with the collar, as the next two
    false_alarm: float
    confusion: float
    si_snri: tuple[float | None, ...]  # dB of each speaker over their own turns; None for one who was not found
    wrong_track: float  # %, of what there is of each speaker's voice in all tracks, that in another's
    reasons: tuple[str | None, ...] = ()  # why a speaker has no gain

    def to_item(self) -> Item:
        """Return them as an item: a gain for each speaker, and the measures of the whole conversation."""
        measures = {
            "der": self.der,
            "der-collar": self.der_collar,
            "count-right": 100.0 * (self.found == self.speakers),
            "wrong-track": self.wrong_track,
            "speakers": self.speakers,
            "found": self.found,
            "missed-collar": self.missed,
            "false-alarm-collar": self.false_alarm,
            "confusion-collar": self.confusion,
            "speech-seconds": self.speech,
            "speech-seconds-collar": self.speech_collar,
        }
        gains, reasons = {"si-snri": [*self.si_snri]}, {"si-snri": [*self.reasons]}
        return Item(self.id, gains, reasons, tuple(range(self.speakers)), measures)

    def row(self) -> JsonDict:
        """Return plain values for JSON."""
        return asdict(self)


def score_conversation(
    id: str,
    rendered: RenderedConversation,
    speakers: Sequence[str],
    *,
    turns: Sequence[Turn],
    voices: np.ndarray,
    names: Sequence[str],
    rate: int,
) -> ConversationScores:
    """Compare a conversation's tracks and turns with the true ones.

    Args:
        id: of the conversation.
        rendered: the mixture, the sources ``[speaker, time]`` and the true turns.
        speakers: who they are, in the order of the sources.
        turns: who was found to speak when.
        voices: the tracks, ``[track, time]``.
        names: whom the tracks are of, as in ``turns``.
        rate: Hz of all samples.

    Raises:
        SeptoolError: there is no speech in it to compare with.
    """
    bare = diarization_error(estimate=turns, reference=rendered.turns)
    error = diarization_error(estimate=turns, reference=rendered.turns, collar=COLLAR_S)
    if not error.total:
        raise SeptoolError(f"conversation {id} has no speech more than {COLLAR_S:g} s from where a turn begins or ends")
    # Without the collar: it may leave nothing of who says but a word now and then.
    track_of = {true: list(names).index(name) for name, true in bare.mapping.items() if name in names}
    gains: list[float | None] = []
    reasons: list[str | None] = []
    right = wrong = 0.0
    for number, speaker in enumerate(speakers):
        own = _own_speech(rendered, speaker, rate)
        reference, mixture = rendered.sources[number][own], rendered.mixture[own]
        energy = float(reference @ reference)
        # Of the speaker's own samples in each track, by projection; what is turned over is no voice of theirs.
        parts = np.maximum(voices[:, own] @ reference / max(energy, 1e-12), 0.0) * energy
        mine = track_of.get(speaker)
        right += float(parts[mine]) if mine is not None else 0.0
        wrong += float(parts.sum()) - (float(parts[mine]) if mine is not None else 0.0)
        gain = None if mine is None else _gain_db(voices[mine][own], mixture, reference)
        gains.append(gain)
        silent = "the track is silent in the speaker's turns, or nobody else is in the mixture there"
        reasons.append("the speaker was not found" if mine is None else silent if gain is None else None)
    return ConversationScores(
        id=id,
        speakers=len(speakers),
        found=len(names),
        der=bare.percent,
        der_collar=error.percent,
        speech=bare.total,
        speech_collar=error.total,
        missed=100 * error.missed / error.total,
        false_alarm=100 * error.false_alarm / error.total,
        confusion=100 * error.confusion / error.total,
        si_snri=tuple(gains),
        wrong_track=100 * wrong / (right + wrong) if right + wrong else 100.0,
        reasons=tuple(reasons),
    )


def _own_speech(rendered: RenderedConversation, speaker: str, rate: int) -> np.ndarray:
    """Return which samples are of a speaker's turns, ``[time]``."""
    own = np.zeros(rendered.mixture.shape[-1], dtype=bool)
    for turn in rendered.turns:
        if turn.speaker == speaker:
            own[round(turn.start * rate) : round(turn.end * rate)] = True
    return own


def _gain_db(estimate: np.ndarray, mixture: np.ndarray, reference: np.ndarray) -> float | None:
    """Return the SI-SNR improvement in dB; None where a track is silent or the speaker was alone all the time."""
    signals = torch.from_numpy(np.stack([estimate, mixture])).double()
    after, before = si_snr(estimate=signals, reference=torch.from_numpy(reference).double()).tolist()
    gain = after - before
    return gain if np.isfinite(gain) else None
