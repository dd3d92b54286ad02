"""Parallel map over machines by dask.distributed: ordered results, and retries when a worker is lost.

An address is ``local:N``, for N processes of this machine, or that of a scheduler, such as ``tcp://host:8786``, whose
workers have septool installed and see the same files.
"""

import logging
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from septool import workers
from septool.errors import SeptoolError, UsageError
from septool.limits import MOST_JOBS, is_at_most

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # items given to each worker before the first of them is wanted
# Bytes. Dask has workers give back what is freed beyond 64 KB; a network frees and takes megabytes with every layer.
KEPT = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**28,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}
PATIENCE_S = 15.0  # for a scheduler to answer


def spread(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    cluster: str | None,
    *,
    killed: Callable[[Item], Result] | None = None,
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` in the order of the items, from processes of this machine or from a cluster.

    Args:
        function: anything that :func:`septool.workers.each` takes; for a cluster, that cloudpickle takes.
        items: may be endless.
        jobs: processes, without a cluster.
        cluster: address of one.
        killed: the result of an item whose process was killed; of a cluster, one that has cost several workers.

    Raises:
        UsageError: the address is none, or dask.distributed is not installed.
        SeptoolError: no scheduler answers there; a process was killed, and there is no ``killed``.
    """
    if cluster is None:
        yield from workers.each(function, items, jobs, killed=killed)
        return
    with _connect(cluster) as client:
        yield from _each(client, function, items, killed)


def check_address(cluster: str) -> None:
    """Refuse what is no address of a cluster.

    Raises:
        UsageError: what it could be.
    """
    kind, colon, rest = cluster.partition(":")
    if not colon or not rest or (kind == "local" and (not rest.isdecimal() or is_at_most(rest, 0))):
        raise UsageError(f"cluster is {cluster!r}; it is local:N, such as local:4, or tcp://HOST:PORT of a scheduler")
    if kind == "local" and not is_at_most(rest, MOST_JOBS):
        raise UsageError(f"cluster is {cluster!r}; local:N has 1 to {MOST_JOBS} workers")
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise UsageError("a cluster takes dask.distributed: pip install 'septool[cluster]'") from None


def worker_number() -> int:
    """Return which of the workers of ``local:N`` this process is, from 0; 0 elsewhere."""
    from distributed import get_worker

    name = get_worker().name
    return name if isinstance(name, int) else 0


@contextmanager
def _connect(cluster: str) -> Iterator["Client"]:
    check_address(cluster)
    import dask.config
    from distributed import Client, LocalCluster

    # Dask sets it to INFO when it is imported: every start and end of a connection.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    kind, _, rest = cluster.partition(":")
    if kind == "local":
        count = int(rest)
        threads = str(max(workers.cores() // count, 1))
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        with (
            dask.config.set(KEPT),
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                env=environment,
                memory_limit=0,  # a recording is worked on in constant memory; what others take is none of its business
            ) as local,
            Client(local) as client,
        ):
            yield client
        return
    try:
        client = Client(cluster, timeout=PATIENCE_S)
    except (OSError, ValueError) as error:
        raise SeptoolError(f"no scheduler answers at {cluster}; dask scheduler starts one ({error})") from None
    with client:
        yield client


def _each(
    client: "Client",
    function: Callable[[Item], Result],
    items: Iterable[Item],
    killed: Callable[[Item], Result] | None,
) -> Generator[Result, None, None]:
    from distributed import Future, KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    # Sent once, as a task of its own, which is done again where all workers that have its result are lost.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
        shared = client.submit(_same, function, pure=False)
    folder = Path.cwd()  # where relative paths start
    source, given = iter(items), deque[tuple[Item, "Future"]]()
    try:
        while True:
            for item in source:
                given.append((item, client.submit(_apply, shared, item, folder, pure=False)))
                if len(given) >= AHEAD * max(len(cast("dict[str, int]", client.nthreads())), 1):
                    break
            if not given:
                return
            item, future = given.popleft()
            try:
                yield future.result()
            except KilledWorker:
                if killed is None:
                    raise SeptoolError(workers.KILLED) from None
                yield killed(item)
            except (FutureCancelledError, CommClosedError):
                raise SeptoolError("the scheduler of the cluster is gone; what was finished is kept") from None
    finally:
        client.cancel([future for _, future in given], force=True)


def _same(function: Callable[[Item], Result]) -> Callable[[Item], Result]:
    return function


def _apply(function: Callable[[Item], Result], item: Item, folder: Path) -> Result:
    os.chdir(folder)
    return function(item)
