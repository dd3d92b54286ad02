"""Training data: the items of every step, divided among processes and micro-batches.

Which items a step has, and what is in them, are functions of the seed and the step alone, so workers,
processes and restarts change nothing. A mixture is ``[part, time]``: its sources, and then what else is
in it (noise, or what a file holds beyond the sources); the parts sum to the mixture.
"""

import logging
import signal
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from septool import workers
from septool.data.manifest import Mixture
from septool.data.mixing import render_mixture, source_seconds
from septool.data.renderers import Rendered
from septool.data.speech_cache import check_damage
from septool.errors import AudioError, ConfigError, ManifestError, SeptoolError

LOG = logging.getLogger(__name__)
GRACE_SECONDS = 30  # for the step during which a run is asked to end
LENGTH_JITTER = 0.02  # part of its length by which a mixture may move in the order of lengths
Key = tuple[int, ...]
TrainingItem = Any  # a waveform [..., time], of numpy or torch, or a tuple that begins with one
Batch = Tensor | tuple[Tensor, ...]  # items, stacked; each starts with a waveform, [batch, ..., time]


class Damage:
    """What of a training set cannot be made: noticed where items are made, counted and named in the main process."""

    def __init__(self, path: Path, total: int, share: float) -> None:
        """Allow a ``share`` of the ``total`` items of the manifest ``path``, rounded up."""
        self.path, self.total, self.share = path, total, share
        self.reasons: dict[str, str] = {}  # of all, by the item
        self._noticed: dict[str, str] = {}  # since they were last taken

    def notice(self, item: str, reason: str) -> None:
        """Note that an item cannot be made."""
        self._noticed[item] = reason

    def take(self) -> dict[str, str]:
        """Return what was noticed in this process since the last call."""
        noticed, self._noticed = self._noticed, {}
        return noticed

    def add(self, noticed: Mapping[str, str]) -> None:
        """Count and name what is new.

        Raises:
            ManifestError: it is more than the share.
        """
        for item, reason in noticed.items():
            if item not in self.reasons:
                self.reasons[item] = reason
                check_damage(self.path, list(self.reasons.values()), self.total, self.share)
                LOG.warning(
                    "mixture %s is damaged and left out (%d of %d so far): %s",
                    item,
                    len(self.reasons),
                    self.total,
                    reason,
                )


class TrainingSet(Protocol):
    """All that a run learns from."""

    variable_length: bool  # whether items of a batch may differ in length
    damage: Damage

    def batch_keys(self, step: int) -> list[Key]:
        """Return the keys of the items of step ``step``, as many as a batch has."""
        ...

    def __getitem__(self, key: Key) -> TrainingItem:
        """Return one item: a waveform ``[..., time]``, or a tuple that begins with one."""
        ...


class DynamicMixtures:
    """Items sampled anew for every epoch by ``sample(seed=, epoch=, index=)``."""

    def __init__(
        self,
        sample: Callable[..., TrainingItem],
        *,
        seed: int,
        batch: int,
        epoch_steps: int,
        variable_length: bool = False,
    ) -> None:
        """Set up.

        Args:
            sample: returns an item, a function of its three arguments.
            seed: of the run.
            batch: items a step.
            epoch_steps: steps an epoch.
            variable_length: items are whole utterances.
        """
        self.sample, self.seed, self.batch, self.epoch_steps = sample, seed, batch, epoch_steps
        self.variable_length = variable_length
        self.damage = Damage(Path(), 0, 0.0)  # was found when the pool was decoded

    def batch_keys(self, step: int) -> list[Key]:
        epoch, place = divmod(step, self.epoch_steps)
        return [(epoch, place * self.batch + item) for item in range(self.batch)]

    def __getitem__(self, key: Key) -> TrainingItem:
        epoch, index = key
        return self.sample(seed=self.seed, epoch=epoch, index=index)


class FixedMixtures:
    """The mixtures of a manifest as they are, each once an epoch, cut to ``seconds`` or whole (0).

    An epoch is here once through the manifest. Batches come in random order. A batch of whole mixtures holds neighbors
    in length, so that little is lost when they are cut to the shortest; lengths count a little more or less at random,
    so that every epoch has other neighbors. What does not fill a batch waits for another epoch. In the place of a
    mixture that cannot be rendered stands the next one of the manifest.
    """

    variable_length = False  # every key says how long its batch is

    def __init__(
        self,
        rows: Sequence[Mixture],
        *,
        rate: int,
        seconds: float,
        seed: int,
        batch: int,
        damage: Damage | None = None,
    ) -> None:
        """Set up; without ``damage`` no mixture may be damaged."""
        self.damage = damage or Damage(Path(), len(rows), 0.0)
        if len(rows) < batch:
            raise ConfigError(f"loop.batch is {batch}, the manifest has {len(rows)} mixtures")
        self.rows, self.rate, self.seed, self.batch = rows, rate, seed, batch
        self.crop = round(seconds * rate)
        self.lengths = None if self.crop else self._header_lengths()
        self.has_rest = any(row.noise or row.mixture for row in rows)  # then all items have that part
        self._epoch: tuple[int, np.ndarray] | None = None  # the last that was asked for, and its batches

    def _header_lengths(self) -> np.ndarray:
        """Return how long each mixture is, ``[row]``; of one that is damaged, the median of the others."""
        lengths = []
        for row in self.rows:
            try:
                lengths.append(_header_frames(row, self.rate))
            except AudioError as error:
                self._notice(row, error)
                lengths.append(0)
        self.damage.add(self.damage.take())
        known = [length for length in lengths if length]
        if not known:
            raise ManifestError(f"{self.damage.path}: none of its {len(self.rows)} mixtures can be rendered")
        return np.array([length or int(np.median(known)) for length in lengths])

    def _notice(self, row: Mixture, error: SeptoolError) -> None:
        if not self.damage.share:
            raise error
        self.damage.notice(row.id, str(error))

    def _render(self, index: int) -> Rendered:
        """Render a row, or the next one that is not damaged."""
        for row in (*self.rows[index:], *self.rows[:index]):
            try:
                return render_mixture(row, self.rate)
            except (AudioError, ManifestError) as error:
                self._notice(row, error)
        raise ManifestError(f"{self.damage.path}: none of its {len(self.rows)} mixtures can be rendered")

    def _batches(self, epoch: int) -> np.ndarray:
        """Return the rows of an epoch's batches, ``[batch, item]``."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._shuffle(epoch)
        return self._epoch[1]

    def _shuffle(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.rows))
        if self.lengths is not None:
            counted = self.lengths * random.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(order))
            # From a random place on, so that it is not always the longest that do not fill a batch.
            order = np.roll(np.argsort(counted), random.integers(len(order)))
        full = len(order) // self.batch * self.batch
        return random.permutation(order[:full].reshape(-1, self.batch))

    def batch_keys(self, step: int) -> list[Key]:
        epoch, place = divmod(step, len(self.rows) // self.batch)
        rows = self._batches(epoch)[place]
        frames = self.crop if self.lengths is None else int(self.lengths[rows].min())
        return [(epoch, int(row), frames) for row in rows]

    def __getitem__(self, key: Key) -> Tensor:
        epoch, index, frames = key
        mixture, parts, _ = self._render(index)
        if self.has_rest:
            parts = np.concatenate([parts, (mixture - parts.sum(0))[None]])
        random = np.random.default_rng([self.seed, epoch, index])
        start = int(random.integers(max(parts.shape[1] - frames, 0) + 1))
        parts = parts[:, start : start + frames]
        return torch.from_numpy(np.pad(parts, ((0, 0), (0, frames - parts.shape[1]))))


def _header_frames(row: Mixture, rate: int) -> int:
    """Return how long a mixture is rendered at a rate, from headers alone; resampling may differ by one."""
    if row.frames is not None:
        return round(row.frames * rate / row.sample_rate)
    seconds = source_seconds(row)
    return int(rate * (min(seconds) if row.mode == "min" else max(seconds)))


def collate_items(items: Sequence[TrainingItem]) -> TrainingItem:
    """Stack items; waveforms ``[..., time]`` of several lengths are cut to the shortest."""
    if isinstance(items[0], Tensor | np.ndarray) and items[0].ndim:
        frames = min(item.shape[-1] for item in items)
        return torch.stack([torch.as_tensor(item)[..., :frames] for item in items])
    if isinstance(items[0], tuple):
        return tuple(collate_items(parts) for parts in zip(*items, strict=True))
    return default_collate(list(items))


def count_samples(batch: Batch) -> int:
    """Return how many samples the mixtures of a batch ``[batch, ..., time]`` have."""
    waves = batch[0] if isinstance(batch, tuple | list) else batch
    return waves.shape[0] * waves.shape[-1]


class MicroBatches:
    """The items of a micro-batch, stacked; an error of ours comes back as a value.

    A DataLoader raises what happens in its processes with their tracebacks as the message.
    """

    def __init__(self, items: TrainingSet) -> None:
        self.items = items

    def __getitem__(self, key: tuple[Sequence[Key], slice]) -> tuple[Batch | SeptoolError, dict[str, str]]:
        """Return the items of a share of a batch, and what was noticed of damage; see :class:`Damage`."""
        keys, own = key
        try:
            if self.items.variable_length:
                # As long as the shortest of the batch, whoever works on that one.
                batch = _select_items(collate_items([self.items[item] for item in keys]), own)
            else:
                batch = collate_items([self.items[item] for item in keys[own]])
        except SeptoolError as error:
            return error, self.items.damage.take()
        return batch, self.items.damage.take()


def _select_items(batch: TrainingItem, own: slice) -> TrainingItem:
    return tuple(_select_items(part, own) for part in batch) if isinstance(batch, tuple) else batch[own].clone()


def _start_worker(worker: int) -> None:
    workers.start(worker)
    # A scheduler asks every process of a run to end; the step that is running may still need what this one makes.
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


def load_micro_batches(
    items: TrainingSet,
    steps: range,
    *,
    rank: int = 0,
    world_size: int = 1,
    accumulation_steps: int = 1,
    jobs: int = 0,
    pin: bool = False,
) -> Generator[list[Batch]]:
    """Yield what one process works on in each step: its share of the batch, in micro-batches ``[batch, ..., time]``.

    Args:
        items: where it comes from.
        steps: the steps.
        rank: number of the process.
        world_size: processes that share a batch.
        accumulation_steps: how many micro-batches to cut a share into.
        jobs: processes that make the items; 0 makes them in this one.
        pin: put them where a CUDA device copies from while it computes.

    Raises:
        SeptoolError: an item that cannot be made, or more of them than may be left out.
    """
    keys = [
        (batch, slice(place, None, world_size * accumulation_steps))
        for batch in map(items.batch_keys, steps)
        for place in range(rank * accumulation_steps, (rank + 1) * accumulation_steps)
    ]
    with warnings.catch_warnings():
        # The user chose how many; there may be more than processors, where decoding waits for a disk.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            # A map-style one, whatever it derives from.
            cast("Dataset[tuple[Batch | SeptoolError, dict[str, str]]]", MicroBatches(items)),
            batch_size=None,
            sampler=cast("Sequence[int]", keys),
            num_workers=jobs,
            worker_init_fn=_start_worker,
            multiprocessing_context="fork" if jobs and workers.FORKS else None,
            pin_memory=pin,
            # The loader draws a base seed from the global generator; its own keeps dropout out of the matter.
            generator=torch.Generator().manual_seed(0),
        )
        ready = iter(loader)
    try:
        for _ in steps:
            share: list[Batch] = []
            for made, damage in [next(ready) for _ in range(accumulation_steps)]:
                items.damage.add(damage)
                if isinstance(made, SeptoolError):
                    raise made
                share.append(made)
            yield share
    finally:
        del ready  # its processes end with it; kept by a traceback, they would be waited for in vain
