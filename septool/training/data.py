"""Training data: the items of every step, divided among processes and micro-batches.

The items of a step and their samples are functions of the seed and the step alone, so workers,
processes and restarts change nothing. A mixture is ``[part, time]``: its sources, followed by the rest
(noise, or the residual of a rendered file); the parts sum to the mixture.
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
from septool.data.manifest import Mixture, iter_from
from septool.data.mixing import mixture_seconds, render_mixture
from septool.data.renderers import Rendered
from septool.data.speech_cache import check_damage
from septool.errors import AudioError, ConfigError, ManifestError, SeptoolError
from septool.signal.levels import remove_dc

LOG = logging.getLogger(__name__)
GRACE_SECONDS = 30  # for completing the current step after a termination signal
LENGTH_JITTER = 0.02  # relative jitter of the lengths by which mixtures are sorted
Key = tuple[int, ...]
TrainingItem = Any  # a waveform [..., time], of numpy or torch, or a tuple that begins with one
Batch = Tensor | tuple[Tensor, ...]  # items, stacked; each starts with a waveform, [batch, ..., time]


class Damage:
    """Damaged items of a training set, noticed in the loader processes and counted in the main process."""

    def __init__(self, path: Path, total: int, share: float) -> None:
        """Allow a ``share`` of the ``total`` items of the manifest ``path``, rounded up."""
        self.path, self.total, self.share = path, total, share
        self.reasons: dict[str, str] = {}  # by item
        self._noticed: dict[str, str] = {}  # since the last call of take

    def notice(self, item: str, reason: str) -> None:
        """Note a damaged item."""
        self._noticed[item] = reason

    def take(self) -> dict[str, str]:
        """Return the items noticed in this process since the last call."""
        noticed, self._noticed = self._noticed, {}
        return noticed

    def add(self, noticed: Mapping[str, str]) -> None:
        """Count and report new items; other processes than the main one only as details of ``--verbose``.

        Raises:
            ManifestError: more items are damaged than the share allows.
        """
        for item, reason in noticed.items():
            if item not in self.reasons:
                self.reasons[item] = reason
                check_damage(self.path, list(self.reasons.values()), self.total, self.share)
                LOG.log(
                    workers.warning_level(),
                    "mixture %s is damaged and left out (%d of %d so far): %s",
                    item,
                    len(self.reasons),
                    self.total,
                    reason,
                )


class TrainingSet(Protocol):
    """The training set of a run."""

    variable_length: bool  # whether items of a batch may differ in length
    damage: Damage

    def batch_keys(self, step: int) -> list[Key]:
        """Return the keys of the items in the batch of step ``step``."""
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
            batch: items per step.
            epoch_steps: steps per epoch.
            variable_length: items are whole utterances.
        """
        self.sample, self.seed, self.batch, self.epoch_steps = sample, seed, batch, epoch_steps
        self.variable_length = variable_length
        self.damage = Damage(Path(), 0, 0.0)  # damage was found when the pool was decoded

    def batch_keys(self, step: int) -> list[Key]:
        epoch, index = divmod(step, self.epoch_steps)
        return [(epoch, index * self.batch + item) for item in range(self.batch)]

    def __getitem__(self, key: Key) -> TrainingItem:
        epoch, index = key
        return self.sample(seed=self.seed, epoch=epoch, index=index)


class FixedMixtures:
    """The mixtures of a manifest as they are, each once an epoch, cut to ``seconds`` or whole (0).

    An epoch is one pass through the manifest, with batches in random order. A batch of whole mixtures has similar
    lengths, so that little is lost when they are cut to the shortest; random jitter of lengths and places varies the
    batches from epoch to epoch. Mixtures that do not fill a batch are left to another epoch. A mixture that cannot be
    rendered is replaced by the next one of the manifest.
    """

    variable_length = False  # each key contains the length of its batch

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
        self.has_rest = any(row.noise or row.mixture for row in rows)  # if any item has a rest, all items get that part
        self._epoch: tuple[int, np.ndarray] | None = None  # cached epoch and its batches

    def _header_lengths(self) -> np.ndarray:
        """Return the length of each mixture in samples, ``[row]``; the median of the others for a damaged one."""
        lengths = []
        for row in self.rows:
            try:
                lengths.append(round(mixture_seconds(row) * self.rate))
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
        for row in iter_from(self.rows, index):
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
        full = len(self.rows) // self.batch * self.batch
        order = random.permutation(len(self.rows))[:full]  # so that what is left over is of any length
        if self.lengths is not None:
            counted = self.lengths[order] * random.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, full)
            order = order[np.argsort(counted)]
            # Few mixtures have lengths too far apart for the jitter: their places vary as well, by less than a batch.
            order = order[np.argsort(np.arange(full) + random.uniform(0, self.batch, full))]
        return random.permutation(order.reshape(-1, self.batch))

    def batch_keys(self, step: int) -> list[Key]:
        epoch, index = divmod(step, len(self.rows) // self.batch)
        rows = self._batches(epoch)[index]
        frames = self.crop if self.lengths is None else int(self.lengths[rows].min())
        return [(epoch, int(row), frames) for row in rows]

    def __getitem__(self, key: Key) -> Tensor:
        epoch, index, frames = key
        mixture, parts, _ = self._render(index)
        if self.has_rest:
            parts = np.concatenate([parts, (mixture - parts.sum(0))[None]])
        parts = remove_dc(parts)  # as the mixture is given in use
        random = np.random.default_rng([self.seed, epoch, index])
        start = int(random.integers(max(parts.shape[1] - frames, 0) + 1))
        parts = parts[:, start : start + frames]
        return torch.from_numpy(np.pad(parts, ((0, 0), (0, frames - parts.shape[1]))))


def collate_items(items: Sequence[TrainingItem]) -> TrainingItem:
    """Stack items; waveforms ``[..., time]`` of several lengths are cut to the shortest."""
    if isinstance(items[0], Tensor | np.ndarray) and items[0].ndim:
        frames = min(item.shape[-1] for item in items)
        return torch.stack([torch.as_tensor(item)[..., :frames] for item in items])
    if isinstance(items[0], tuple):
        return tuple(collate_items(parts) for parts in zip(*items, strict=True))
    return default_collate(list(items))


def count_samples(batch: Batch) -> int:
    """Return the number of samples in the mixtures of a batch ``[batch, ..., time]``."""
    waves = batch[0] if isinstance(batch, tuple | list) else batch
    return waves.shape[0] * waves.shape[-1]


class MicroBatches:
    """Stacked items of one or several micro-batches; a SeptoolError is returned as a value.

    A DataLoader would raise exceptions of its processes with the traceback as their message.
    """

    def __init__(self, items: TrainingSet) -> None:
        self.items = items

    def __getitem__(
        self, key: tuple[Sequence[Key], Sequence[slice]]
    ) -> tuple[list[Batch] | SeptoolError, dict[str, str]]:
        """Return the items of each of several shares of a batch, and the damage noticed; see :class:`Damage`."""
        keys, shares = key
        try:
            if self.items.variable_length:
                # Cut to the shortest item of the whole batch, including those of other processes.
                batch = collate_items([self.items[item] for item in keys])
                batches = [_select_items(batch, share) for share in shares]
            else:
                batches = [collate_items([self.items[item] for item in keys[share]]) for share in shares]
        except SeptoolError as error:
            return error, self.items.damage.take()
        return batches, self.items.damage.take()


def _select_items(batch: TrainingItem, share: slice) -> TrainingItem:
    return tuple(_select_items(part, share) for part in batch) if isinstance(batch, tuple) else batch[share].clone()


def _start_worker(worker: int) -> None:
    workers.start(worker)
    # A scheduler signals every process of a run, but the current step may still need the items of this one.
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
    """Yield the share of one process of each batch, in micro-batches ``[batch, ..., time]``.

    Args:
        items: the training set.
        steps: the steps.
        rank: rank of the process.
        world_size: number of processes that share a batch.
        accumulation_steps: number of micro-batches per share.
        jobs: number of loader processes; 0 loads in this process.
        pin: use pinned memory, from which a CUDA device copies while it computes.

    Raises:
        SeptoolError: an item cannot be loaded, or more are damaged than may be left out.
    """
    shares = [
        slice(index, None, world_size * accumulation_steps)
        for index in range(rank * accumulation_steps, (rank + 1) * accumulation_steps)
    ]
    # All micro-batches are cut to the shortest of the whole utterances, so these are rendered once for all of them.
    groups = [shares] if items.variable_length else [[share] for share in shares]
    with warnings.catch_warnings():
        # The user may choose more processes than cores, since decoding may wait for the disk.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            # A map-style dataset, although it is not derived from Dataset.
            cast("Dataset[tuple[list[Batch] | SeptoolError, dict[str, str]]]", MicroBatches(items)),
            batch_size=None,
            # Made as they are asked for: those of a long epoch would take seconds.
            sampler=cast("Sequence[int]", ((keys, group) for keys in map(items.batch_keys, steps) for group in groups)),
            num_workers=jobs,
            worker_init_fn=_start_worker,
            multiprocessing_context="fork" if jobs and workers.FORKS else None,
            pin_memory=pin,
            # With its own generator the loader does not draw from the global one, which dropout uses.
            generator=torch.Generator().manual_seed(0),
        )
        ready = iter(loader)
    try:
        for _ in steps:
            share: list[Batch] = []
            for made, damage in [next(ready) for _ in groups]:
                items.damage.add(damage)
                if isinstance(made, SeptoolError):
                    raise made
                share += made
            yield share
    finally:
        del ready  # ends its processes, even if a traceback keeps this frame alive
