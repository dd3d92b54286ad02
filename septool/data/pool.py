"""The utterance pool: decoded speech at one rate, indexed by speaker."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from septool.config import JsonDict
from septool.signal.levels import EMPTY_DB, from_db, rms_of

FULL_SCALE = 32767.0


class UtterancePool(Sequence[tuple[np.ndarray, float]]):
    """Utterances ``(samples [time] in [-1, 1], RMS)``, and which speaker has which of them."""

    def __init__(
        self,
        samples: np.ndarray,
        bounds: np.ndarray,
        levels: np.ndarray,
        names: list[str],
        rate: int,
        genders: Mapping[str, str] | None = None,
    ) -> None:
        """Index utterances that lie one after the other.

        Args:
            samples: of all of them, 16-bit, ``[time]``.
            bounds: where each begins, and where the last ends, ``[utterance + 1]``.
            levels: RMS of each, ``[utterance]``.
            names: speaker of each.
            rate: Hz.
            genders: of the speakers by name, as far as they are known.
        """
        self.rate = rate
        self._samples, self._bounds, self._levels = samples, bounds, levels
        self.speaker_names = sorted(set(names))
        number = {name: index for index, name in enumerate(self.speaker_names)}
        self._speaker = np.array([number[name] for name in names])
        self.genders = [(genders or {}).get(name) for name in self.speaker_names]
        self.gender_counts = Counter(self.genders)  # asked for each mixture, so counted once
        # Utterances of each speaker, by number.
        self.speakers = [np.flatnonzero(self._speaker == index) for index in range(len(self.speaker_names))]

    def __len__(self) -> int:
        return len(self._levels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, float]:  # type: ignore[override]
        index = range(len(self))[index]  # whose IndexError is where going through all of them ends
        return self.segment(index), self.level(index)

    def __getstate__(self) -> JsonDict:
        state = vars(self).copy()
        if isinstance(self._samples, np.memmap):  # a process that gets the pool maps the file, not a copy of it
            state["_samples"] = self._samples.filename
        return state

    def __setstate__(self, state: JsonDict) -> None:
        vars(self).update(state)
        samples = state["_samples"]
        if not isinstance(samples, np.ndarray):
            self._samples = map_samples(samples)

    def frames(self, index: int) -> int:
        """Return the length of an utterance in samples."""
        return int(self._bounds[index + 1] - self._bounds[index])

    def level(self, index: int) -> float:
        """Return the RMS of an utterance."""
        return float(self._levels[index])

    def segment(self, index: int, start: int = 0, frames: int | None = None) -> np.ndarray:
        """Return a segment ``[time]`` of an utterance, cut where it ends; float32 in [-1, 1]."""
        end = None if frames is None else start + frames
        return self._whole(index)[start:end] / np.float32(FULL_SCALE)

    def _whole(self, index: int) -> np.ndarray:
        start, end = self._bounds[index : index + 2]
        return self._samples[start:end]

    def speaker_of(self, index: int) -> int:
        """Return the number of the speaker of an utterance."""
        return int(self._speaker[index])

    def split_single_utterances(self) -> "UtterancePool":
        """Return the pool with the only utterance of a speaker as two parts: one to enroll with, one to mix.

        The cut is where half of the utterance's magnitudes are summed up, so that neither part is a pause.
        """
        bounds = [0]
        levels: list[float] = []
        names: list[str] = []
        for utterance, end in enumerate(self._bounds[1:]):
            speaker = self.speaker_of(utterance)
            names.append(self.speaker_names[speaker])
            if len(self.speakers[speaker]) == 1:
                samples = self.segment(utterance)
                heard = np.cumsum(np.abs(samples), dtype=np.float64)
                cut = int(np.count_nonzero(2 * heard < heard[-1]))
                bounds.append(bounds[-1] + cut)
                names.append(self.speaker_names[speaker])
                # Of a single click one part is silent all the same, and no gain is infinite.
                levels += [max(float(rms_of(part)), from_db(EMPTY_DB)) for part in (samples[:cut], samples[cut:])]
            else:
                levels.append(self.level(utterance))
            bounds.append(int(end))
        genders = {
            name: gender for name, gender in zip(self.speaker_names, self.genders, strict=True) if gender is not None
        }
        return UtterancePool(self._samples, np.array(bounds), np.array(levels), names, self.rate, genders)

    @property
    def seconds(self) -> float:
        """Length of all utterances together."""
        return len(self._samples) / self.rate


def map_samples(path: Path | str) -> np.ndarray:
    """Return the 16-bit samples ``[time]`` of a file without reading them."""
    return np.memmap(path, dtype=np.int16, mode="r")
