"""Data-parallel training in several processes that torchrun starts.

The batch size does not depend on the number of processes, which affects only the time and the rounding of sums, unless
the network has dropout, drawn per process, or batch normalization, computed per share.
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
# Other processes wait while the main one decodes the corpus; if it dies, its closed connections end the wait.
TIMEOUT = timedelta(hours=6)
# Error messages of the libraries that indicate a dead peer.
PEER_LOST_MESSAGES = (
    "by peer",
    "broken pipe",
    "connection was likely closed",
    "connection refused",
    "ncclremoteerror",
)


@dataclass(frozen=True)
class Distributed:
    """This process among those of a run; a single process by default."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def shard(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's share of shared work."""
        return items[self.rank :: self.world_size]

    def gather(self, share: Sequence[Item]) -> list[Item]:
        """Return what all processes have made of their shares, in the order of what :meth:`shard` was given."""
        if self.world_size == 1:
            return list(share)
        shares: list[Sequence[Item]] = [()] * self.world_size
        dist.all_gather_object(shares, share)
        return [shares[index % self.world_size][index // self.world_size] for index in range(sum(map(len, shares)))]

    def all_reduce_sum(self, *values: float) -> list[float]:
        """Add up values over all processes, in double precision."""
        if self.world_size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def any(self, here: bool) -> bool:
        """Return whether the condition holds in any process."""
        return self.all_reduce_sum(here)[0] > 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose backward pass averages gradients over all processes."""
        if self.world_size == 1:
            return module
        # Some networks do not use all weights: those of skipped iterations, or of a part that is not trained.
        wrapped = DistributedDataParallel(module, find_unused_parameters=True)
        # Tables that grow with the input differ in size between processes; ``broadcast`` syncs the buffers that matter.
        # The argument's name depends on the version of torch.
        wrapped.broadcast_buffers = False
        return wrapped

    def broadcast(self, values: Iterable[Tensor]) -> None:
        """Give all processes the main one's tensors ``[...]``, in place."""
        if self.world_size > 1:
            for value in values:
                dist.broadcast(value.detach(), src=0)  # shares the memory, without autograd history

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Do not synchronize a wrapped module's gradients yet, since more will be accumulated."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()

    def barrier(self) -> None:
        """Wait until all processes have reached this point."""
        if self.world_size > 1:
            dist.barrier()

    @contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Run the block in one process of each machine first, then in the others, which reuse its files."""
        waits = self.world_size > 1 and os.environ["LOCAL_RANK"] != "0"
        if waits:
            self.barrier()
        yield
        if not waits:
            self.barrier()


@contextmanager
def init_distributed(device: torch.device) -> Iterator[Distributed]:
    """Join the processes that torchrun has started, if it has; each of a machine gets a CUDA device of its own.

    When one fails, the first process to notice reports the reason, and the others end silently.

    Raises:
        UsageError: more processes on this machine than it has CUDA devices.
        SeptoolError: another process of the run has ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if device.type == "cuda":
            torch.cuda.set_device(device.index or 0)  # pinned memory and lookup tables use the current device
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
            # Not sys.exit: other threads may wait for the lost process forever.
            sys.stderr.flush()
            os._exit(error.status if isinstance(error, InterruptedBySignal) else 1)
        if is_peer_lost(error):
            raise SeptoolError(
                f"one of the {world_size} processes of this run has ended, and the run with it; "
                "resume it, with as many processes as you like"
            ) from error
        raise


def is_peer_lost(error: BaseException) -> bool:
    """Return whether an error is the failure of another process."""
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in PEER_LOST_MESSAGES)


def _is_first_to_fail(store: Store) -> bool:
    try:
        return store.add("failures", 1) == 1
    except RuntimeError:  # the process that hosts the store has ended as well
        return True
