"""What a run learns from: the items of every step, shared out among processes and pieces.

Which items a step has, and what is in them, are functions of the seed and the step alone, so workers,
processes and restarts change nothing. A mixture is ``[part, time]``: its sources, and then what else is
in it (noise, or what a file holds beyond the sources); the parts sum to the mixture.
"""

import signal
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from septool import audio, workers
from septool.data.manifest import Mixture
from septool.data.mixing import render_mixture
from septool.errors import ConfigError, SeptoolError

GRACE_SECONDS = 30  # for the step during which a run is asked to end
JITTER = 0.02  # part of its length by which a mixture may move in the order of lengths
Key = tuple[int, ...]


class Items(Protocol):
    """All that a run learns from."""

    vary: bool  # whether items of a batch may differ in length

    def keys(self, step: int) -> list[Key]:
        """Return what step ``step`` takes, as many as a batch has."""
        ...

    def __getitem__(self, key: Key) -> Any:
        """Return one item."""
        ...


class Drawn:
    """Items drawn anew for every epoch by ``draw(seed=, epoch=, index=)``; ``vary`` if those are whole utterances."""

    def __init__(
        self, draw: Callable[..., Any], *, seed: int, batch: int, epoch_steps: int, vary: bool = False
    ) -> None:
        self.draw, self.seed, self.batch, self.epoch_steps, self.vary = draw, seed, batch, epoch_steps, vary

    def keys(self, step: int) -> list[Key]:
        epoch, place = divmod(step, self.epoch_steps)
        return [(epoch, place * self.batch + item) for item in range(self.batch)]

    def __getitem__(self, key: Key) -> Any:
        epoch, index = key
        return self.draw(seed=self.seed, epoch=epoch, index=index)


class Static:
    """The mixtures of a manifest as they are, each once a round, cut to ``seconds`` or whole (0).

    Batches come in random order. A batch of whole mixtures holds neighbours in length, so that little is lost when
    they are cut to the shortest; lengths count a little more or less at random, so that every round has other
    neighbours. What does not fill a batch waits for another round.
    """

    vary = False  # every key says how long its batch is

    def __init__(self, rows: Sequence[Mixture], *, rate: int, seconds: float, seed: int, batch: int) -> None:
        if len(rows) < batch:
            raise ConfigError(f"loop.batch is {batch}, the manifest has {len(rows)} mixtures")
        self.rows, self.rate, self.seed, self.batch = rows, rate, seed, batch
        self.crop = round(seconds * rate)
        self.lengths = None if self.crop else np.array([_frames(row, rate) for row in rows])
        self.more = any(row.noise or row.mixture for row in rows)  # all items have as many parts
        self._round: tuple[int, np.ndarray] | None = None  # the last that was asked for, and its batches

    def _batches(self, round_: int) -> np.ndarray:
        """Return the rows of a round's batches, ``[batch, item]``."""
        if self._round is None or self._round[0] != round_:
            self._round = round_, self._shuffle(round_)
        return self._round[1]

    def _shuffle(self, round_: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, round_])
        order = random.permutation(len(self.rows))
        if self.lengths is not None:
            counted = self.lengths * random.uniform(1 - JITTER, 1 + JITTER, len(order))
            # From a random place on, so that it is not always the longest that do not fill a batch.
            order = np.roll(np.argsort(counted), random.integers(len(order)))
        full = len(order) // self.batch * self.batch
        return random.permutation(order[:full].reshape(-1, self.batch))

    def keys(self, step: int) -> list[Key]:
        round_, place = divmod(step, len(self.rows) // self.batch)
        rows = self._batches(round_)[place]
        frames = self.crop if self.lengths is None else int(self.lengths[rows].min())
        return [(round_, int(row), frames) for row in rows]

    def __getitem__(self, key: Key) -> Tensor:
        round_, index, frames = key
        mixture, parts, _ = render_mixture(self.rows[index], self.rate)
        if self.more:
            parts = np.concatenate([parts, (mixture - parts.sum(0))[None]])
        random = np.random.default_rng([self.seed, round_, index])
        start = int(random.integers(max(parts.shape[1] - frames, 0) + 1))
        parts = parts[:, start : start + frames]
        return torch.from_numpy(np.pad(parts, ((0, 0), (0, frames - parts.shape[1]))))


def _frames(row: Mixture, rate: int) -> int:
    """Return how long a mixture is rendered at a rate, from headers alone; resampling may differ by one."""
    if row.frames is not None:
        return round(row.frames * rate / row.sample_rate)
    seconds = []
    for source in row.sources:
        about = audio.audio_info(row.locate(source.path))
        frames = about.frames - source.start if source.frames < 0 else source.frames
        seconds.append(frames / about.rate / source.speed)
    return int(rate * (min(seconds) if row.mode == "min" else max(seconds)))


def collate(items: Sequence[Any]) -> Any:
    """Stack items; waveforms of several lengths are cut to the shortest."""
    if isinstance(items[0], Tensor | np.ndarray) and items[0].ndim:
        frames = min(item.shape[-1] for item in items)
        return torch.stack([torch.as_tensor(item)[..., :frames] for item in items])
    if isinstance(items[0], tuple):
        return tuple(collate(parts) for parts in zip(*items, strict=True))
    return default_collate(list(items))


def samples(piece: Any) -> int:
    """Return how many samples of mixtures a piece has."""
    waves = piece[0] if isinstance(piece, tuple | list) else piece
    return waves.shape[0] * waves.shape[-1]


class Pieces:
    """The items of a piece, stacked; an error of ours comes back as a value.

    A DataLoader raises what happens in its processes with their tracebacks as the message.
    """

    def __init__(self, items: Items) -> None:
        self.items = items

    def __getitem__(self, piece: tuple[Sequence[Key], slice]) -> Any:
        keys, own = piece
        try:
            if not self.items.vary:
                return collate([self.items[key] for key in keys[own]])
            # As long as the shortest of the batch, whoever works on that one.
            return _part(collate([self.items[key] for key in keys]), own)
        except SeptoolError as error:
            return error


def _part(batch: Any, own: slice) -> Any:
    return tuple(_part(each, own) for each in batch) if isinstance(batch, tuple) else batch[own].clone()


def _start(worker: int) -> None:
    workers.start(worker)
    # A scheduler asks every process of a run to end; the step that is running may still need what this one makes.
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


def load(
    items: Items, steps: range, *, rank: int = 0, ranks: int = 1, pieces: int = 1, jobs: int = 0, pin: bool = False
) -> Generator[list[Any]]:
    """Yield what one process works on in each step: its share of the batch, in pieces.

    Args:
        items: where it comes from.
        steps: the steps.
        rank: number of the process.
        ranks: processes that share a batch.
        pieces: how many to cut a share into.
        jobs: processes that make the items; 0 makes them in this one.
        pin: put them where a CUDA device copies from while it computes.
    """
    keys = [
        (batch, slice(place, None, ranks * pieces))
        for batch in map(items.keys, steps)
        for place in range(rank * pieces, (rank + 1) * pieces)
    ]
    with warnings.catch_warnings():
        # The user chose how many; there may be more than processors, where decoding waits for a disk.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: DataLoader[Any] = DataLoader(
            Pieces(items),  # type: ignore[arg-type] - a map-style dataset, whatever it derives from
            batch_size=None,
            sampler=keys,
            num_workers=jobs,
            worker_init_fn=_start,
            multiprocessing_context="fork" if jobs and workers.FORKS else None,
            pin_memory=pin,
            # The loader draws a base seed from the global generator; its own keeps dropout out of the matter.
            generator=torch.Generator().manual_seed(0),
        )
        ready = iter(loader)
    try:
        for _ in steps:
            share = [next(ready) for _ in range(pieces)]
            for piece in share:
                if isinstance(piece, SeptoolError):
                    raise piece
            yield share
    finally:
        del ready  # its processes end with it; kept by a traceback, they would be waited for in vain
