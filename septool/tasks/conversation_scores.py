"""Evaluating a separator on conversations: rendered, separated as by ``separate --speakers``, and scored."""

from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np

from septool import workers
from septool.conversation.networks import load_conversation_networks
from septool.conversation.separation import ConversationSeparator
from septool.data.conversations import Conversation, RenderedConversation, read_conversations, render_conversation
from septool.device import choose_device, enough_memory
from septool.errors import SeptoolError
from septool.scoring.conversations import score_conversation
from septool.scoring.items import Item
from septool.scoring.jobs import ScoringJob
from septool.signal.turns import Turn

BLOCK_S = 10.0  # handed over at once


def separate_rendered(
    row: Conversation, rendered: RenderedConversation, conversation: ConversationSeparator
) -> tuple[list[Turn], tuple[str, ...], np.ndarray]:
    """Run both passes over a conversation, read at the rate that is chosen for its recordings.

    Args:
        row: the conversation.
        rendered: at the separator's rate.
        conversation: the conversation separator.

    Returns:
        Who speaks when, the names, and a track for each of them, ``[speaker, time]``.
    """
    rate = conversation.choose_rate(row.sample_rate)
    mixture = rendered.mixture if rate == conversation.rate else render_conversation(row, rate).mixture
    block = round(BLOCK_S * rate)
    blocks = (mixture[start : start + block] for start in range(0, len(mixture), block))
    with conversation:
        for _ in conversation.listen(blocks, rate):
            workers.check_stopping()
        found = conversation.diarize()
        voices = np.concatenate(list(conversation.voices()), axis=1)
    # Half of an odd number of samples is rounded up, and may have been rounded down in what was rendered.
    return found.turns, found.speakers, voices[:-1, : len(rendered.mixture)]


def conversations_by_model(
    path: Path, model: str, speaker_model: str, device: str, limit: int | None, passes: int | None = None
) -> ScoringJob:
    """Take every conversation of a manifest apart, and score its tracks and turns.

    Raises:
        UsageError: the model is no separator with two outputs.
    """
    rows = read_conversations(path)[:limit]
    warnings: list[str] = []
    networks = load_conversation_networks(model, speaker_model, choose_device(device), passes, warnings.append)

    def tasks(done: Container[str]) -> Iterator[Item]:
        for row in rows:
            if row.id not in done:
                yield _score_row(row, networks.start(), networks.rate)

    return ScoringJob([row.id for row in rows], networks.rate, tasks, warnings=warnings)


def _score_row(row: Conversation, conversation: ConversationSeparator, rate: int) -> Item:
    try:
        with enough_memory("for a whole conversation at once"):
            rendered = render_conversation(row, rate)
            turns, names, voices = separate_rendered(row, rendered, conversation)
        scores = score_conversation(row.id, rendered, row.speakers, turns=turns, voices=voices, names=names, rate=rate)
    except SeptoolError as error:
        return Item(row.id, error=str(error))
    return scores.to_item()
