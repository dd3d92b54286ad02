"""Data-parallel training in several processes that torchrun starts.

A batch means the same whatever their number, which changes nothing but the time and the rounding of sums, unless the
network has dropout, which each process draws for its own share, or batch normalization, which is over a share.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from septool.errors import InterruptedBySignal, SeptoolError, UsageError

Item = TypeVar("Item")
# The main process decodes the corpus while the others wait. Nobody waits for one that died: its connections end.
TIMEOUT = timedelta(hours=6)
# What the libraries say of a peer that died; of other failures they say more than that.
PEER_LOST_MESSAGES = (
    "by peer",
    "broken pipe",
    "connection was likely closed",
    "connection refused",
    "ncclremoteerror",
)


@dataclass(frozen=True)
class Distributed:
    """This process among those of the run; alone by default."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def shard(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part of what all do together."""
        return items[self.rank :: self.world_size]

    def all_reduce_sum(self, *values: float) -> list[float]:
        """Add up values over all processes, in double precision."""
        if self.world_size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return self.all_reduce_sum(here)[0] > 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose backward pass averages gradients over all processes."""
        if self.world_size == 1:
            return module
        # Some networks leave weights out: those of iterations that nobody needed, or of a part that is not trained.
        wrapped = DistributedDataParallel(module, find_unused_parameters=True)
        # Tables that grow with what a process has seen differ in size; ``broadcast`` is for the buffers that count. The
        # argument's name depends on the version of torch.
        wrapped.broadcast_buffers = False
        return wrapped

    def broadcast(self, values: Iterable[Tensor]) -> None:
        """Give all processes the main one's tensors ``[...]``, in place."""
        if self.world_size > 1:
            for value in values:
                dist.broadcast(value.detach(), src=0)  # which shares its memory, and has no history

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Keep a wrapped module's gradients in this process for now: more are to be added to them."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()

    def barrier(self) -> None:
        """Wait until all processes have come this far."""
        if self.world_size > 1:
            dist.barrier()

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Let one process of each machine do the block, then the others, who find what it has left on disk."""
        waits = self.world_size > 1 and os.environ["LOCAL_RANK"] != "0"
        if waits:
            self.barrier()
        yield
        if not waits:
            self.barrier()


def is_main_process() -> bool:
    """Whether this process is the one that prints, before it has joined the others."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def init_distributed(device: torch.device) -> Iterator[Distributed]:
    """Join the processes that torchrun has started, if it has; each of a machine gets a CUDA device of its own.

    When one fails, whichever notices first says why, and the others end without a word.

    Raises:
        UsageError: more processes on this machine than it has CUDA devices.
        SeptoolError: another process of the run has ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if device.type == "cuda":
            torch.cuda.set_device(device.index or 0)  # the current one is where pinned memory and tables go
        yield Distributed(device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if device.index >= torch.cuda.device_count():
            raise UsageError(
                f"torchrun has started more processes than this machine has CUDA devices ({torch.cuda.device_count()})"
            )
        torch.cuda.set_device(device)
    store, rank, world_size = next(rendezvous("env://", timeout=TIMEOUT))
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
        yield Distributed(device, rank, world_size)
        dist.destroy_process_group()
    except (Exception, InterruptedBySignal) as error:
        if not _is_first_to_fail(store):
            # Not sys.exit: other threads may wait for the lost process for ever.
            sys.stderr.flush()
            os._exit(error.status if isinstance(error, InterruptedBySignal) else 1)
        if is_peer_lost(error):
            raise SeptoolError(
                f"one of the {world_size} processes of this run has ended, and the run with it; "
                "resume it with --resume, with as many processes as you like"
            ) from error
        raise


def is_peer_lost(error: BaseException) -> bool:
    """Say whether it is another process that has failed."""
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in PEER_LOST_MESSAGES)


def _is_first_to_fail(store: Store) -> bool:
    try:
        return store.add("failures", 1) == 1
    except RuntimeError:  # the process that kept the store has gone as well
        return True
