"""Measures what people are called by their names by: ``alike`` of septool/conversation/statistics.py.

``python -m tools.measure_naming dev-meetings.jsonl`` takes every conversation of a manifest apart, enrolls every person
by the first recording in the folder of theirs that is in no conversation, and prints the cosines between what was found
of a person and everybody's voiceprint: own, others', and how often the nearest of a conversation's people is right.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from septool import audio, catalogue, checkpoints
from septool.conversation.networks import load_conversation_networks
from septool.data.conversations import Conversation, read_conversations, render_conversation
from septool.inference.enrollment import embed_references
from septool.inference.voiceprints import VOICEPRINT_RATE
from septool.models import SPEAKER_MODEL
from septool.models.base import SpeakerEncoder
from septool.signal.turns import Turn

ENROLLED_S = 10.0  # of the recording


def other_recordings(rows: list[Conversation]) -> dict[str, Path]:
    """Return for every person who has one a recording that is in no conversation."""
    used = {row.locate(segment.path) for row in rows for segment in row.segments}
    folders = {segment.speaker: row.locate(segment.path).parent for row in rows for segment in row.segments}
    unused = {name: sorted(set(folder.iterdir()) - used) for name, folder in sorted(folders.items())}
    return {name: paths[0] for name, paths in unused.items() if paths}


def shared_seconds(first: list[Turn], second: list[Turn]) -> float:
    """Return for how long two people speak at once."""
    return sum(max(0.0, min(a.end, b.end) - max(a.start, b.start)) for a in first for b in second)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="galr")
    args = parser.parse_args()
    networks = load_conversation_networks(args.model, SPEAKER_MODEL, torch.device("cpu"))
    rows = read_conversations(args.manifest)
    prints = {}
    speakers, _ = checkpoints.load(catalogue.resolve_checkpoint(SPEAKER_MODEL)[1], SpeakerEncoder)
    speakers.listen_at(VOICEPRINT_RATE)
    for name, path in other_recordings(rows).items():
        samples = audio.load_audio(path, VOICEPRINT_RATE)[: round(ENROLLED_S * VOICEPRINT_RATE)]
        known = embed_references(speakers.embedding, [samples], VOICEPRINT_RATE, networks.device)[0].numpy()
        prints[name] = known / np.linalg.norm(known)
    own, others, right = [], [], []
    for row in rows:
        with networks.start() as conversation:
            rate = conversation.choose_rate(row.sample_rate)
            rendered = render_conversation(row, rate)
            for _ in conversation.listen([rendered.mixture], rate):
                pass
            found = conversation.diarize()
        for label, embedding in zip(found.speakers, found.embeddings, strict=True):
            turns = [turn for turn in found.turns if turn.speaker == label]
            person = max(
                row.speakers,
                key=lambda name: shared_seconds(turns, [turn for turn in rendered.turns if turn.speaker == name]),
            )
            alike = {name: float(known @ embedding / np.linalg.norm(embedding)) for name, known in prints.items()}
            others += [cosine for name, cosine in alike.items() if name != person]
            if person in alike:
                own.append(alike[person])
                right.append(alike[person] >= max(alike[name] for name in row.speakers if name in alike))
        print(row.id, file=sys.stderr, flush=True)
    print(f"own: {', '.join(f'{cosine:.2f}' for cosine in sorted(own))}")
    print(f"others: {np.median(others):.2f} in the middle, {np.percentile(others, 95):.2f} at 95 %")
    print(f"nearest of the conversation's people: right in {sum(right)} of {len(right)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
