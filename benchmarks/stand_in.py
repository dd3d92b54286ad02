"""``septool`` without its networks, for all that does not depend on how well they separate.

``python -m benchmarks.stand_in VOICE VOICE ... -- separate RECORDING --speakers auto ...`` runs the command line on one
recording of which the voices are known. Each window's two tracks are those voices, as :class:`TrueVoices` hands them
out, and an embedding is a mean spectrum; everything else is what septool has, and the networks are loaded.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from septool import audio, cli
from septool.conversation.networks import ConversationNetworks
from septool.conversation.separation import ConversationSeparator
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount
from septool.conversation.speaker_embedder import SpeakerEmbedder
from septool.conversation.statistics import SPEAKER_NET
from septool.inference.voiceprints import Voiceprint

GHOST = 0.05  # of the other track
BLOCK = 256  # samples of which a spectrum is taken


class TrueVoices:
    """Windows of the voices of a conversation, on two tracks in an order that is drawn for each window.

    Args:
        files: of the voices, opened, at the rate of the separator.
        step: samples from one window to the next.
    """

    def __init__(self, files: Sequence[audio.AudioFile], step: int = 0) -> None:
        self.files, self.step = files, step
        self.held = np.zeros((len(files), 0), dtype=np.float32)
        self.random = np.random.default_rng(0)

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        missing = len(mixture) - self.held.shape[1]
        more = np.stack([file.read(missing)[0] for file in self.files])
        self.held = np.concatenate((self.held, more), axis=1)
        tracks = np.zeros((2, len(mixture)), dtype=np.float32)
        for number, voice in enumerate(self.held):
            tracks[number % 2] += voice[: len(mixture)]
        self.held = self.held[:, self.step :]
        tracks = tracks[self.random.permutation(2)]
        return tracks + GHOST * tracks[::-1]


def embed(samples: np.ndarray) -> np.ndarray:
    """Return the mean magnitudes of 128 bands, ``[band]``, which is about what a voice sounds like."""
    blocks = np.resize(samples, (max(len(samples) // BLOCK, 1), BLOCK))
    return np.abs(np.fft.rfft(blocks * np.hanning(BLOCK)))[:, 1:].mean(0).astype(np.float32)


def main() -> None:
    """Run the command line."""
    end = sys.argv.index("--")
    voices, sys.argv[1:] = sys.argv[1:end], sys.argv[end + 1 :]

    def start(
        self: ConversationNetworks, count: SpeakerCount = ANY_COUNT, voices: Sequence[Voiceprint] = ()
    ) -> ConversationSeparator:
        true = TrueVoices(files)
        embedder = SpeakerEmbedder(embed, self.rate, SPEAKER_NET)
        conversation = ConversationSeparator(true, embedder, self.rate, count, voices)
        true.step = conversation.store.step
        return conversation

    ConversationNetworks.start = start
    with ExitStack() as stack:
        files = [stack.enter_context(audio.open_audio(Path(path))) for path in voices]
        cli.main()


if __name__ == "__main__":
    main()
