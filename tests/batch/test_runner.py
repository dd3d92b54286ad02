"""Working on recordings: what a run that was killed left, another brings to its end."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from septool.batch import runner
from septool.batch.inputs import Input
from septool.batch.outcomes import Failed
from septool.batch.output_names import Job
from septool.batch.settings import BatchSettings, Cluster
from septool.errors import AudioError, UsageError
from tests.test_atomic import kill_a_writer


def job(folder: Path, *names: str) -> Job:
    return Job("x.wav", Path("x.wav"), targets=tuple(folder / name for name in names))


def test_voices_whose_renames_were_cut_off_are_all_there(tmp_path: Path) -> None:
    kill_a_writer(tmp_path, "rename")
    begun = job(tmp_path, "x_s1.wav", "x_s2.wav")
    assert not begun.targets[1].exists()
    assert runner._existing_targets(begun) == list(begun.targets)
    assert begun.targets[1].read_text() == "voice 1"


def test_a_voice_alone_is_somebodys(tmp_path: Path) -> None:
    (tmp_path / "x_s1.wav").touch()
    begun = job(tmp_path, "x_s1.wav", "x_s2.wav")
    assert runner._existing_targets(begun) == [begun.targets[0]]


BATCH = BatchSettings(
    out="out", name="{stem}_s{voice}", suffix="wav", segment=30, overlap=4, device=torch.device("cpu")
)


def test_of_jobs_for_a_cluster_one_whose_files_cannot_be_asked_for_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(work: Callable[[Any], object], items: Iterable[Any], *_: object, killed: object) -> Iterator[object]:
        yield from map(work, items)

    def pending(path: Path) -> bool:
        raise AudioError(f"{path.parent} cannot be listed")

    def done(task: runner.Task) -> Failed:
        return Failed(task.job.label, "")

    monkeypatch.setattr(runner, "spread", here)
    monkeypatch.setattr(runner, "worker_number", lambda: 0)
    monkeypatch.setattr("septool.batch.settings.check_address", lambda _: None)  # imports dask
    monkeypatch.setattr(runner, "is_pending", pending)
    (tmp_path / "half_s1.wav").touch()
    jobs = [job(tmp_path, "x" * 300), job(tmp_path, "half_s1.wav", "half_s2.wav"), job(tmp_path, "x_s1.wav")]
    batch = replace(BATCH, out=str(tmp_path), cluster=Cluster("local:1", "cpu"))
    results = list(runner.run_batch(batch, jobs, done))
    long, half, fine = (result.error for result in results if isinstance(result, Failed))
    assert long
    assert f"{tmp_path} cannot be listed" in half
    assert not fine


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_channels_of_a_named_pipe_are_not_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.wav")
    batch = replace(BATCH, channel="each")
    with pytest.raises(UsageError, match="names files for every channel, which takes files"):
        batch.count_channels(Input("x.wav", tmp_path / "x.wav"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_what_reads_a_recording_again_or_knows_it_by_its_name_takes_no_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    inputs = [Input("pipe.wav", tmp_path / "pipe.wav")]
    BATCH.check_inputs(inputs)
    for changes in ({"html": tmp_path / "r.html"}, {"skip_existing": True}, {"cluster": Cluster("local:1", "cpu")}):
        with pytest.raises(UsageError, match="standard input"):
            replace(BATCH, **changes).check_inputs(inputs)
