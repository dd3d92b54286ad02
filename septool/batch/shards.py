"""Shards: the part of the recordings that each of several machines works on (``--shard I/N``)."""

import hashlib
import os
from collections.abc import Sequence

from septool.batch.output_names import Job
from septool.errors import UsageError
from septool.limits import MOST_SHARDS, is_at_most


def select_shard(jobs: Sequence[Job], shard: str | None) -> list[Job]:
    """Return the shard of the recordings for this machine.

    The shard depends on a recording's path relative to the searched folder alone: machines agree however the folder is
    mounted, and whatever the others have already written.

    Args:
        jobs: all recordings.
        shard: ``I/N``, part I, from 1, of N; all of them without.

    Raises:
        UsageError: it is no such pair of numbers.
    """
    if shard is None:
        return list(jobs)
    if any(job.is_pipe for job in jobs):
        raise UsageError(f"--shard {shard} takes files; standard input is on one machine")
    part, _, parts = shard.partition("/")
    is_pair = part.isdecimal() and parts.isdecimal() and is_at_most(parts, MOST_SHARDS)
    if not (is_pair and is_at_most(part, int(parts)) and int(part) >= 1):
        raise UsageError(f"--shard is {shard!r}; write it as I/N, with I from 1 to N, such as 3/16")

    def shard_of(job: Job) -> int:  # hash() differs between processes
        name = (job.subfolder / job.path.name).as_posix()
        return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()) % int(parts)

    return [job for job in jobs if shard_of(job) == int(part) - 1]
