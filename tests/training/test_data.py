"""Batches: functions of seed and step alone, however they are shared out."""

import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import audio
from septool.data import manifest
from septool.data.manifest import Mixture, Source
from septool.data.mixing import render_mixture
from septool.errors import AudioError, ConfigError, ManifestError
from septool.signal.levels import at_model_level
from septool.training.data import Batch, Damage, DynamicMixtures, FixedMixtures, collate_items, load_micro_batches
from septool.training.trainer import Trainer
from tests.training.conftest import RATE
from tests.training.runs import ALONE, recipe


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Mixture]:
    """Twenty mixtures of lengths from 0.1 s on, of noise."""
    folder = tmp_path_factory.mktemp("rows")
    random = np.random.default_rng(0)
    made = []
    for row in range(20):
        names = [f"{row}-{source}.wav" for source in range(2)]
        for name in names:
            audio.write_audio(
                folder / name, random.uniform(-0.4, 0.4, 800 + 80 * row).astype(np.float32), RATE, "FLOAT"
            )
        sources = tuple(Source(path=name) for name in names)
        made.append(Mixture(id=str(row), sources=sources, sample_rate=RATE, root=folder))
    return made


def fixed(rows: list[Mixture], *, seconds: float = 0.0, seed: int = 0, batch: int = 4) -> FixedMixtures:
    return FixedMixtures(rows, rate=RATE, seconds=seconds, seed=seed, batch=batch)


def taken(items: FixedMixtures, steps: range) -> list[int]:
    return [key[1] for step in steps for key in items.batch_keys(step)]


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_every_mixture_comes_once_an_epoch_in_another_order(rows: list[Mixture], seconds: float) -> None:
    items = fixed(rows, seconds=seconds)
    first, second = taken(items, range(5)), taken(items, range(5, 10))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert taken(fixed(rows, seconds=seconds), range(5)) == first
    assert taken(fixed(rows, seconds=seconds, seed=1), range(5)) != first


def test_what_does_not_fill_a_batch_waits(rows: list[Mixture]) -> None:
    items = fixed(rows, batch=3)
    rounds = [taken(items, range(6 * epoch, 6 * epoch + 6)) for epoch in range(8)]
    assert all(len(set(each)) == 18 for each in rounds)
    assert set(chain(*rounds)) == set(range(20))


def test_whole_mixtures_meet_neighbours_and_lose_little(rows: list[Mixture]) -> None:
    items = fixed(rows)
    batches = [torch.stack([items[key] for key in items.batch_keys(step)]) for step in range(50)]
    left = sum(batch.shape[0] * batch.shape[-1] for batch in batches)
    there = 10 * sum(render_mixture(row).mixture.size for row in rows)
    assert left / there > 0.85  # 0.68 on average if any four came together
    partners = {frozenset(key[1] for key in items.batch_keys(step)) for step in range(50)}
    assert len(partners) > 10


def test_the_longest_never_meets_the_shortest(rows: list[Mixture]) -> None:
    items = fixed(rows, batch=3)
    assert items.lengths is not None
    for step in range(6 * 20):
        lengths = items.lengths[[key[1] for key in items.batch_keys(step)]]
        assert lengths.max() - lengths.min() <= 80 * 8  # of 1520; neighbours, two left out and jitter


@pytest.mark.parametrize(("rank", "warnings"), [("0", 1), ("1", 0)])
def test_damage_is_a_warning_of_the_main_process(
    rank: str, warnings: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RANK", rank)
    damage = Damage(Path("rows.jsonl"), 20, 0.05)
    damage.add({"a": "it breaks off"})
    assert len(caplog.messages) == warnings
    with pytest.raises(ManifestError, match="more than 1 of 20 are damaged"):
        damage.add({"b": "it breaks off"})  # in any process


def test_items_are_what_the_rows_say(rows: list[Mixture]) -> None:
    items = fixed(rows)
    key = items.batch_keys(3)[0]
    whole = render_mixture(rows[key[1]]).sources
    (place,) = np.flatnonzero(whole[0] == items[key][0, 0].item())
    np.testing.assert_array_equal(items[key], whole[:, place : place + key[2]])
    assert np.array_equal(items[key], items[key])


def test_a_short_mixture_is_padded_to_the_crop(rows: list[Mixture]) -> None:
    item = fixed(rows, seconds=0.5)[(0, 2, 4000)]
    whole = render_mixture(rows[2]).sources
    np.testing.assert_array_equal(item[:, : whole.shape[1]], whole)
    assert not item[:, whole.shape[1] :].any()


class Watched(Sequence[Mixture]):
    """Rows that note which of them were looked at."""

    def __init__(self, rows: list[Mixture]) -> None:
        self.rows, self.seen = rows, list[object]()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        self.seen.append(place)
        return self.rows[place]


def test_an_item_looks_at_its_row_alone_and_on_from_a_damaged_one(rows: list[Mixture]) -> None:
    gone = [replace(rows[place], sources=(Source(path="gone.wav"),), frames=800) for place in (18, 19)]
    watched = Watched([*rows[:18], *gone])
    items = FixedMixtures(
        watched, rate=RATE, seconds=0.1, seed=0, batch=4, damage=Damage(Path("rows.jsonl"), len(rows), 0.5)
    )
    for index, seen in ((3, [3]), (17, [17]), (18, [18, 19, 0])):
        watched.seen.clear()
        items[(0, index, 800)]
        assert watched.seen == seen
    assert items.damage.take().keys() == {"18", "19"}


def test_noise_is_the_last_part(rows: list[Mixture]) -> None:
    noisy = replace(rows[1], noise=replace(rows[5].sources[0], gain_db=-6.0))
    items = fixed([rows[0], noisy], batch=1)
    with_noise, without = items[(0, 1, 880)], items[(0, 0, 800)]
    assert len(with_noise) == len(without) == 3
    assert not without[2].any()
    torch.testing.assert_close(with_noise.sum(0), torch.from_numpy(render_mixture(noisy).mixture), atol=1e-6, rtol=0)


def test_a_manifest_smaller_than_a_batch_is_refused(rows: list[Mixture]) -> None:
    with pytest.raises(ConfigError, match=r"loop\.batch is 21, the manifest has 20 mixtures"):
        fixed(rows, batch=21)


def test_lengths_come_from_headers(rows: list[Mixture], manifests: Path) -> None:
    fast = replace(rows[9], sources=(replace(rows[9].sources[0], speed=1.25), rows[9].sources[1]))
    excerpt = replace(rows[8], sources=tuple(replace(each, start=100, frames=300) for each in rows[8].sources))
    long = replace(fast, mode="max")
    every = [
        *rows,
        fast,
        excerpt,
        long,
        replace(rows[7], frames=123),
        *manifest.read_manifest(manifests / "fixed-2mix.jsonl"),
    ]
    lengths = fixed(every).lengths
    assert lengths is not None
    for row, length in zip(every, lengths, strict=True):
        assert render_mixture(row, RATE).mixture.size == length


@pytest.mark.parametrize(("mixing", "name"), [("static", "fixed-2mix"), ("dynamic", "train-speech")])
def test_a_model_is_given_a_voice_with_an_offset_in_training_as_in_use(
    manifests: Path, tmp_path: Path, mixing: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEPTOOL_CACHE", str(tmp_path / "cache"))
    shutil.copytree(manifests.parent, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("tree/speaker[012]/*"):  # at least one in every mixture
        audio.write_audio(path, audio.load_audio(path, RATE) + np.float32(0.2), RATE)
    folder = tmp_path / "data"
    data = {"mixing": mixing, "train": str(folder / f"{name}.jsonl")}
    role = Trainer(recipe(folder, data=data, mixing={"seconds": 0.0}), tmp_path, ALONE).role
    given: list[torch.Tensor] = []
    role.loss_function = lambda _, mixture, __: given.append(mixture) or mixture
    (parts,) = chain(*load_micro_batches(role.training_set(1), range(1)))
    role.losses_and_auxiliary(parts)
    for mixture, part in zip(given[0], waveforms(parts), strict=True):
        torch.testing.assert_close(mixture, at_model_level(part.sum(0)), atol=1e-6, rtol=0)


def waveforms(batch: Batch) -> torch.Tensor:
    """A batch of items that are waveforms alone."""
    assert isinstance(batch, torch.Tensor)
    return batch


def test_processes_and_micro_batches_share_a_batch_out() -> None:
    items = DynamicMixtures(
        lambda *, seed, epoch, index: torch.tensor([seed, epoch, index]), seed=7, batch=8, epoch_steps=3
    )
    whole = [waveforms(share[0]) for share in load_micro_batches(items, range(2, 5))]
    assert [batch[:, 1:].tolist() for batch in whole] == [
        [[0, index] for index in range(16, 24)],
        [[1, index] for index in range(8)],
        [[1, index] for index in range(8, 16)],
    ]
    shares = [
        list(load_micro_batches(items, range(2, 5), rank=rank, world_size=2, accumulation_steps=2)) for rank in range(2)
    ]
    for step, batch in enumerate(whole):
        pieces = [waveforms(piece) for share in shares for piece in share[step]]
        assert all(len(piece) == 2 for piece in pieces)
        assert sorted(torch.cat(pieces).tolist()) == batch.tolist()


@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_whole_utterances_are_as_long_as_the_shortest_of_the_batch(ranks: int, parts: int) -> None:
    def sample(*, seed: int, epoch: int, index: int) -> tuple[np.ndarray, int]:
        random = np.random.default_rng([seed, epoch, index])
        return random.uniform(size=(2, int(random.integers(5, 50)))), index

    items = DynamicMixtures(sample, seed=7, batch=8, epoch_steps=3, variable_length=True)
    for step in range(3):
        drawn = [sample(seed=7, epoch=0, index=8 * step + place) for place in range(8)]
        shortest = min(parts.shape[1] for parts, _ in drawn)
        seen = []
        for rank in range(ranks):
            (share,) = load_micro_batches(
                items, range(step, step + 1), rank=rank, world_size=ranks, accumulation_steps=parts
            )
            for waves, index in share:
                assert waves.shape == (8 // ranks // parts, 2, shortest)
                for own, place in zip(waves, index.tolist(), strict=True):
                    np.testing.assert_array_equal(own, drawn[place - 8 * step][0][:, :shortest])
                    seen.append(place - 8 * step)
        assert sorted(seen) == list(range(8))


def test_whole_utterances_are_rendered_once_a_step_in_each_process() -> None:
    rendered: list[int] = []

    def sample(*, seed: int, epoch: int, index: int) -> np.ndarray:
        rendered.append(index)
        return np.zeros((2, 100 + index), dtype=np.float32)

    items = DynamicMixtures(sample, seed=0, batch=8, epoch_steps=1, variable_length=True)
    (share,) = load_micro_batches(items, range(1), rank=1, world_size=2, accumulation_steps=4)
    assert (len(share), sorted(rendered)) == (4, list(range(8)))


def test_the_keys_of_an_epoch_are_made_as_they_are_used(rows: list[Mixture]) -> None:
    class Counted(FixedMixtures):
        asked = 0

        def batch_keys(self, step: int) -> list[tuple[int, ...]]:
            self.asked += 1
            return super().batch_keys(step)

    items = Counted(rows, rate=RATE, seconds=0.1, seed=0, batch=4)
    shares = load_micro_batches(items, range(1000))
    next(shares)
    assert items.asked == 1
    shares.close()


@pytest.mark.parametrize("jobs", [0, 1])
def test_an_error_of_an_item_is_one_line(rows: list[Mixture], jobs: int) -> None:
    gone = replace(rows[0], sources=(Source(path="gone.wav"),), frames=800)
    with pytest.raises(AudioError, match=r"^[^\n]*gone\.wav does not exist$"):
        list(load_micro_batches(fixed([gone], batch=1), range(1), jobs=jobs))


def test_an_interrupt_is_left_to_the_parent() -> None:
    def interrupted(*, seed: int, epoch: int, index: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        return torch.tensor([index])

    items = DynamicMixtures(interrupted, seed=0, batch=1, epoch_steps=3)
    assert [waveforms(share[0]).item() for share in load_micro_batches(items, range(3), jobs=1)] == [0, 1, 2]


def test_waveforms_of_several_lengths_are_cut_to_the_shortest() -> None:
    items = [(np.ones((2, length)), torch.full((length + 1,), 2.0), length) for length in (5, 3, 4)]
    waves, more, numbers = collate_items(items)
    assert waves.shape == (3, 2, 3)
    assert more.shape == (3, 4)
    assert numbers.tolist() == [5, 3, 4]
