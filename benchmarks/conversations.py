"""Conversations on a manifest: ours, today's two tracks, and what each step would give if it were perfect.

``python -m benchmarks.conversations dev-meetings.jsonl --out benchmarks/results/cpu/conversations.jsonl`` renders
every conversation, takes it apart in several ways and prints one table. Settings of the steps were chosen on every
second conversation (the first, third, ...); the others are reported apart.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from septool.conversation.networks import ConversationNetworks, load_conversation_networks
from septool.conversation.separation import ConversationSeparator
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount
from septool.data.conversations import Conversation, RenderedConversation, read_conversations, render_conversation
from septool.models import SPEAKER_MODEL
from septool.scoring.conversations import ConversationScores, score_conversation
from septool.tasks.conversation_scores import separate_rendered

CPU = torch.device("cpu")


class Kept:
    """The separation of a conversation's windows, made once for all the ways that share it."""

    def __init__(self, separate: Callable[[np.ndarray], np.ndarray]) -> None:
        self.separate = separate
        self.windows: list[np.ndarray] = []

    def replay(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return a separator that gives the windows in their order."""
        counter = iter(range(1 << 30))

        def separate(mixture: np.ndarray) -> np.ndarray:
            number = next(counter)
            if number == len(self.windows):
                self.windows.append(self.separate(mixture))
            return self.windows[number]

        return separate


class OracleSeparation:
    """The true sources on two tracks: whoever begins while somebody speaks gets the other track."""

    def __init__(self, rendered: RenderedConversation, step: int) -> None:
        self.sources, self.step, self.place = rendered.sources, step, 0

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        inside = self.sources[:, self.place : self.place + len(mixture)]
        self.place += self.step
        tracks, busy = np.zeros((2, len(mixture)), np.float32), np.zeros((2, len(mixture)), bool)
        for source in inside[np.argsort([np.argmax(source != 0) for source in inside])]:
            on = np.convolve(source != 0, np.ones(160), "same") > 0
            track = int((busy[0] & on).sum() > (busy[1] & on).sum())
            tracks[track] += source
            busy[track] |= on
        return tracks


def oracle_embedder(rendered: RenderedConversation) -> Callable[[np.ndarray], np.ndarray]:
    """Return embeddings that say who it is: the source that a run correlates with most, wherever it is."""
    size = 1 << (2 * rendered.mixture.shape[-1] - 1).bit_length()
    spectra = np.conj(np.fft.rfft(rendered.sources, size))

    def embed(samples: np.ndarray) -> np.ndarray:
        likeness = np.abs(np.fft.irfft(np.fft.rfft(samples, size) * spectra, size)).max(-1)
        return (likeness == likeness.max()).astype(np.float32)

    return embed


def ways(
    row: Conversation, rendered: RenderedConversation, kept: Kept, networks: ConversationNetworks
) -> Iterator[tuple[str, ConversationSeparator]]:
    """Yield every way of taking a conversation apart by its name."""

    def start(count: SpeakerCount = ANY_COUNT) -> ConversationSeparator:
        conversation = networks.start(count)
        conversation.separate = kept.replay()
        return conversation

    exact = SpeakerCount(len(row.speakers), len(row.speakers))
    yield "septool", start()
    yield "number known", start(exact)
    yield "two tracks, one voice each", start(SpeakerCount(2, 2))
    hearing = start()
    oracle = oracle_embedder(render_conversation(row, hearing.embedder.rate))
    hearing.embedder = replace(hearing.embedder, embed=oracle)
    yield "oracle speakers", hearing
    perfect = start()
    perfect.separate = OracleSeparation(rendered, perfect.store.step)
    yield "oracle separation", perfect


def table(scores: dict[str, list[ConversationScores]]) -> Iterable[str]:
    """Write the means, over all conversations and over those that nothing was chosen on."""
    yield "| way | conversations | number right | DER, % | DER (collar 0.25 s), % | SI-SNRi, dB | wrong track, % |"
    yield "|---|---|---|---|---|---|---|"
    for way, every in scores.items():
        for which, some in (("all", every), ("held out", every[1::2])):
            gains = [gain for score in some for gain in score.si_snri if gain is not None]
            right = sum(score.speakers == score.found for score in some)
            yield (
                f"| {way} | {len(some)} {which} | {right} | {fmean(score.der for score in some):.1f} | "
                f"{fmean(score.der_collar for score in some):.1f} | {fmean(gains):.1f} | "
                f"{fmean(score.wrong_track for score in some):.1f} |"
            )


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="galr")
    parser.add_argument("--speaker-model", default=SPEAKER_MODEL)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    networks = load_conversation_networks(args.model, args.speaker_model, CPU, passes=1)
    rate = networks.rate
    scores: dict[str, list[ConversationScores]] = {}
    lines = []
    for row in read_conversations(args.manifest):
        rendered = render_conversation(row, rate)
        kept = Kept(networks.start().separate)
        for way, conversation in ways(row, rendered, kept, networks):
            turns, names, voices = separate_rendered(row, rendered, conversation)
            score = score_conversation(
                row.id, rendered, row.speakers, turns=turns, voices=voices, names=names, rate=rate
            )
            scores.setdefault(way, []).append(score)
            lines.append(json.dumps({"way": way, "model": args.model} | score.row()))
            print(lines[-1], file=sys.stderr, flush=True)
    if args.out:
        args.out.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    print("\n".join(table(scores)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
