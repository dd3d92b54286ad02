"""Rendering a conversation: one track for each speaker, put together window by window.

A track is the recording itself where its speaker is alone, the separated track where somebody else talks too, and
silence where the speaker is silent.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.ndimage import distance_transform_edt

from septool.conversation.diarization import PADDING_S, Assignment
from septool.conversation.runs import Run, WindowActivity
from septool.conversation.windows import WindowStore
from septool.inference.level import check_finite_estimate

FADE_S = 0.048  # from one way of taking a voice to another

Refine = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [time] and [2, time] to [2, time]


def render_tracks(store: WindowStore, assignment: Assignment, refine: Refine | None = None) -> Iterator[np.ndarray]:
    """Yield the tracks of a recording piece by piece, ``[speaker + 1, time]``; the last is what is in no other.

    Args:
        store: the windows.
        assignment: whose each run of them is.
        refine: returns better tracks of a window in which two people talk at once.
    """
    speakers, borders = assignment.speakers, assignment.borders
    tail = np.zeros((speakers + 1, 0), dtype=np.float32)
    spoken: dict[int, list[tuple[Run, int]]] = {}  # by window: its runs, and who speaks in each
    for run, label in zip(assignment.runs, assignment.labels.tolist(), strict=True):
        spoken.setdefault(run.window, []).append((run, label))
    for number, (window, window_activity) in enumerate(zip(store.windows, assignment.activities, strict=True)):
        is_last = number == len(store.windows) - 1
        mixture, tracks = store.read(number)
        if refine is not None and speakers > 1 and window_activity.activity.both.any():
            tracks = refine(mixture, tracks)
            check_finite_estimate(tracks)
        out = np.zeros((speakers + 1, window.samples), dtype=np.float32)
        for speaker in range(speakers):
            own = [run for run, label in spoken.get(number, ()) if label == speaker]
            if speakers == 1:  # the recording itself, with the pauses, wherever a window has any of their words
                out[speaker] = mixture if own else 0.0
                continue
            alone, beside = _gains(store, window_activity, own, window.samples)
            out[speaker] = alone * mixture + (beside * tracks).sum(0)
        out[speakers] = mixture - out[:speakers].sum(0)
        span = (borders[number] - window_activity.start, borders[number + 1] - window_activity.start)
        out *= _ramp(store, span, window.samples, first=number == 0, last=is_last)
        out[:, : tail.shape[1]] += tail
        done = window.samples if is_last else store.step
        yield out[:, :done]
        tail = out[:, done:]


def _gains(
    store: WindowStore, window_activity: WindowActivity, runs: Iterable[Run], samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of a window's mixture, ``[time]``, and of its tracks, ``[2, time]``, belongs to runs."""
    alone, beside = np.zeros(len(window_activity)), np.zeros((2, len(window_activity)))
    for run in runs:
        inside = run.frames - window_activity.start
        both = window_activity.activity.both[inside]
        alone[inside[~both]] = 1.0
        beside[run.track, inside[both]] = 1.0
    gains = np.vstack((alone, beside))
    speech = window_activity.activity.speech
    if speech.any():  # soft beginnings and ends go to whose they most probably are
        transformed = distance_transform_edt(~speech, return_indices=True)
        assert isinstance(transformed, tuple)
        away, nearest = transformed
        gains = np.where(away <= store.grid.frames(PADDING_S), gains[:, nearest[0]], 0.0)
    alone, *beside = (_fade(store, gain, samples) for gain in gains)
    return alone, np.stack(beside)


def _fade(store: WindowStore, gain: np.ndarray, samples: int) -> np.ndarray:
    """Spread gains ``[frame]`` over samples, with cross-fades."""
    width = max(round(store.grid.frames(FADE_S)), 1)
    smooth = np.convolve(np.pad(gain, width, mode="edge"), np.ones(width) / width, "same")[width:-width]
    return np.interp(np.arange(samples), np.arange(len(gain)) * store.grid.hop, smooth)


def _ramp(store: WindowStore, span: tuple[int, int], samples: int, *, first: bool, last: bool) -> np.ndarray:
    """Return the share of a window in the result, ``[time]``; those of neighbors add up to one."""
    fade = max(store.size - store.step, 1) // 4
    time = np.arange(samples, dtype=np.float32)
    start, end = span[0] * store.grid.hop, span[1] * store.grid.hop
    rise = np.ones(samples) if first else np.clip((time - start) / fade + 0.5, 0, 1)
    fall = np.ones(samples) if last else np.clip((end - time) / fade + 0.5, 0, 1)
    return (rise * fall).astype(np.float32)
