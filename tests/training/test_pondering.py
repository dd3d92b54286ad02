"""The ponder cost: how many steps tokens are said to take, and that a run pays for them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from septool.errors import UsageError
from septool.models.papez import Config, Papez
from septool.tasks.train import check_run, train
from septool.training.recipe_files import recipe_from_dict
from septool.training.trainer import Trainer
from tests.models.tiny import TINY
from tests.training.runs import ALONE, recipe

PAPEZ: dict[str, Any] = TINY["papez"]
HALTING: Any = {"model": "papez", "config": PAPEZ | {"halting": "freeze", "dropout": 0.0}}


def papez(**changes: Any) -> Papez:
    torch.manual_seed(0)
    settings: dict[str, Any] = PAPEZ | {"dropout": 0.0} | changes
    return Papez(Config(**settings))


@pytest.mark.parametrize("halting", ["reference", "freeze"])
def test_steps_are_those_that_the_output_is_taken_from(halting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, weights = papez(halting=halting), list[Tensor]()
    halt = model._halt

    def keep(*arguments: Any) -> tuple[Tensor, Tensor]:
        weight, probability = halt(*arguments)
        weights.append(weight)
        return weight, probability

    monkeypatch.setattr(model, "_halt", keep)
    with model.record_expected_steps() as recorded:
        model(torch.randn(2, 300))
    (steps,) = recorded
    taken = torch.stack(weights)  # [step, batch, token]
    number = torch.arange(1, len(taken) + 1)[:, None, None]
    rest = 1 - taken.sum(0)  # of tokens that never halt
    torch.testing.assert_close(steps, (number * taken).sum(0) + len(taken) * rest)
    assert steps.min() >= 1
    assert steps.max() > steps.min()
    model(torch.randn(2, 300))
    assert len(recorded) == 1  # outside of the context nothing is collected


@pytest.mark.parametrize("reduced", [False, True], ids=["fp32", "bf16"])
def test_dropped_tokens_take_no_more_steps(reduced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rests = papez(halting="drop"), list[Tensor]()
    halt = model._halt

    def keep(layer: Any, tokens: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
        rests.append((1 - probability).float().sum())
        return halt(layer, tokens, probability)

    monkeypatch.setattr(model, "_halt", keep)
    with model.record_expected_steps() as recorded, torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        model(torch.randn(2, 300))
    first, second = recorded  # an item of the batch each
    torch.testing.assert_close(first.sum() + second.sum(), sum(rests))
    assert first.min() >= 1
    assert first.max() > first.min()


@pytest.mark.parametrize("halting", ["freeze", "drop"])
def test_to_pay_less_a_network_halts_sooner(halting: str) -> None:
    model = papez(halting=halting)
    optimizer, mixture, means = torch.optim.Adam(model.parameters(), lr=1e-2), torch.randn(2, 300), list[float]()
    for _ in range(10):
        with model.record_expected_steps() as recorded:
            model(mixture)
        loss = recorded[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        means.append(loss.item())
    assert means[-1] < means[0] - 0.2


def test_a_run_has_its_cost_apart_from_its_loss(manifests: Path, tmp_path: Path) -> None:
    free = Trainer(recipe(manifests, **HALTING), tmp_path / "free", ALONE)
    run = Trainer(recipe(manifests, **HALTING, pondering={"cost": 0.5}), tmp_path / "run", ALONE)
    batch = torch.randn(2, 2, 400)
    losses, auxiliary = run.role.losses_and_auxiliary(batch)
    assert auxiliary.keys() == {"pondering"}
    assert 0.5 <= auxiliary["pondering"].item() <= 0.5 * PAPEZ["depth"]
    torch.testing.assert_close(losses, free.role.losses_and_auxiliary(batch)[0])
    one, other = run.step(batch), free.step(batch)
    assert one["loss"] == other["loss"] == pytest.approx(losses.mean().item())
    assert one["pondering"] == pytest.approx(auxiliary["pondering"].item())
    assert one["gradient"] != other["gradient"]
    assert "pondering" not in other


@pytest.mark.parametrize(
    "changes",
    [{"model": "galr"}, {"model": "papez", "config": PAPEZ | {"halting": "none"}}],
    ids=["galr", "papez that does not halt"],
)
def test_who_does_not_halt_pays_nothing(manifests: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"takes a papez that is trained with halting$"):
        train(recipe(manifests, **changes, pondering={"cost": 0.1}), tmp_path / "run")


def test_an_extractor_does_not_ponder() -> None:
    chosen = recipe_from_dict({"model": "atss-net", "pondering": {"cost": 0.1}})
    with pytest.raises(UsageError, match="pondering changes nothing for atss-net, which is no separator"):
        check_run(chosen, ALONE)
