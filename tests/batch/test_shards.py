"""Every machine works on its share of the recordings, and all of them on every one."""

from pathlib import Path

import pytest

from septool.batch.output_names import Job
from septool.batch.shards import select_shard
from septool.batch.stdio import PIPE
from septool.errors import UsageError

DIGITS = "9" * 5000  # more than int() takes
JOBS = [Job(f"calls/{number}.wav", Path(f"calls/{number}.wav")) for number in range(2000)]


@pytest.mark.parametrize("parts", [1, 3, 16])
def test_every_recording_is_in_one_part_and_parts_are_alike(parts: int) -> None:
    shards = [select_shard(JOBS, f"{part}/{parts}") for part in range(1, parts + 1)]
    assert sorted(job.label for part in shards for job in part) == sorted(job.label for job in JOBS)
    assert max(map(len, shards)) < 1.3 * len(JOBS) / parts


def test_a_part_does_not_depend_on_what_else_is_there() -> None:
    before = select_shard(JOBS, "2/3")
    after = select_shard([*JOBS, Job("calls/7_s1.wav", Path("calls/7_s1.wav"))], "2/3")
    assert [job for job in after if job in JOBS] == before
    assert select_shard(JOBS, None) == JOBS


@pytest.mark.parametrize(
    "shard", ["", "3", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "one/two", "1.5/2", f"1/{DIGITS}", f"{DIGITS}/2"]
)
def test_what_is_no_part_is_refused(shard: str) -> None:
    with pytest.raises(UsageError, match=r"write it as I/N, with I from 1 to N, such as 3/16"):
        select_shard(JOBS, shard)


def test_standard_input_has_no_parts() -> None:
    with pytest.raises(UsageError, match="--shard 1/2 takes files"):
        select_shard([Job(PIPE, Path(PIPE))], "1/2")
