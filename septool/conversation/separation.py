"""Separating a conversation into one track per speaker, with a separator that has two outputs.

At any moment hardly ever more than two people talk. So the recording is separated window by window into two tracks
(:mod:`septool.conversation.windows`), what each track carries is cut into runs (:mod:`septool.conversation.runs`), the
runs of the whole recording are given to those who speak (:mod:`septool.conversation.diarization`), and each person's
track is put together (:mod:`septool.conversation.rendering`).

Memory does not grow with the recording but for 62 numbers a second and an embedding a run: the samples and tracks
of the first pass lie in a temporary file until the second.

What tells voices apart may hear more than the separator: a recording of a higher rate is then read at the rate of
the former, and lowered for the latter.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Self

import numpy as np

from septool import audio
from septool.conversation.blocks import mark_last
from septool.conversation.diarization import Assignment, Diarization, assign_runs, describe_speakers
from septool.conversation.rendering import Refine, render_tracks
from septool.conversation.speaker_count import ANY_COUNT, SpeakerCount
from septool.conversation.speaker_embedder import SpeakerEmbedder
from septool.conversation.windows import WindowStore
from septool.inference.level import check_finite_estimate
from septool.inference.voiceprints import Voiceprint
from septool.signal.levels import remove_dc

Separate = Callable[[np.ndarray], np.ndarray]  # [time] to [2, time], levels as in the recording


class ConversationSeparator:
    """The two passes over one recording; a context that removes its temporary file."""

    def __init__(
        self,
        separate: Separate,
        embedder: SpeakerEmbedder,
        rate: int,
        count: SpeakerCount = ANY_COUNT,
        known: Sequence[Voiceprint] = (),
        refine: Refine | None = None,
    ) -> None:
        """Set up.

        Args:
            separate: separates a window into two tracks.
            embedder: what a voice sounds like, at ``rate`` or a multiple of it.
            rate: Hz of everything but what ``embedder`` is given.
            count: how many people there may be.
            known: enrolled voices, so that people can be called by their names.
            refine: takes a window ``[time]`` and its two tracks, and gives better ones in their order; called in the
                second pass alone, where two people talk at once.
        """
        self.separate, self.embedder, self.rate = separate, embedder, rate
        self.count, self.known, self.refine = count, known, refine
        self.store = WindowStore(rate)
        self._assignment: Assignment | None = None

    def __enter__(self) -> Self:
        self.store.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.__exit__(kind, error, trace)

    def choose_rate(self, recorded: int) -> int:
        """Return the rate, in Hz, to listen to a recording at: that of the separator, or higher if ``recorded`` is."""
        return self.embedder.rate if recorded > self.rate else self.rate

    def listen(self, blocks: Iterable[np.ndarray], rate: int | None = None) -> Iterator[int]:
        """Make the first pass over a recording; yields the samples done after each window, at the separator's rate.

        Args:
            blocks: the recording, ``[time]`` each.
            rate: Hz of them, as :meth:`choose_rate` says; that of the separator by default.
        """
        store = self.store
        factor = store.factor = (rate or self.rate) // self.rate
        lower = audio.StreamResampler(factor, 1, channels=1)
        buffer = recorded = np.zeros(0, dtype=np.float32)
        for block, last in mark_last(chain([buffer], blocks)):  # a last one, even if there are none
            recorded = np.concatenate((recorded, block))
            buffer = np.concatenate((buffer, lower.push(block[None], last=last)[0]))
            while len(buffer) > store.size:
                self._listen_to(buffer[: store.size], recorded[: factor * store.size])
                buffer, recorded = buffer[store.step :], recorded[factor * store.step :]
                yield store.samples
        if len(buffer) or not store.windows:
            self._listen_to(buffer, recorded)
        yield store.samples

    def _listen_to(self, mixture: np.ndarray, recorded: np.ndarray) -> None:
        given = remove_dc(mixture) if len(mixture) else np.zeros(1, dtype=np.float32)
        tracks = self.separate(given)
        check_finite_estimate(tracks)
        samples = self.store.factor * len(given)  # resampling the last window may leave one more or less
        recorded = np.pad(recorded[:samples], (0, max(samples - len(recorded), 0)))
        self.store.append(given, tracks, remove_dc(recorded))

    def diarize(self, check: Callable[[], None] = lambda: None) -> Diarization:
        """Say who speaks when, after the first pass; ``check`` is called often, and ends it by what it raises."""
        self._assignment, embeddings = assign_runs(self.store, self.embedder, self.count, check)
        return describe_speakers(self._assignment, embeddings, self.store, self.known, self.embedder.statistics)

    def voices(self) -> Iterator[np.ndarray]:
        """Make the second pass, after :meth:`diarize`: yield ``[speaker + 1, time]``; see :func:`render_tracks`."""
        assert self._assignment is not None, "who speaks when has to be known first"
        return render_tracks(self.store, self._assignment, self.refine)
