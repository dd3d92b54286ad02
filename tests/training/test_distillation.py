"""Learning from a teacher: what is compared, and that it teaches."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from septool import checkpoints
from septool.errors import UsageError
from septool.headers import Header
from septool.models.build import build_model
from septool.models.galr import GALR
from septool.models.galr import Config as GALRConfig
from septool.models.papez import Config as PapezConfig
from septool.models.papez import Papez
from septool.signal import frames
from septool.tasks.train import check_run, train
from septool.training.distillation import RecordsStates, Teacher, distance
from septool.training.recipe import Distillation
from septool.training.recipe_files import recipe_from_dict
from septool.training.trainer import Trainer
from tests.conftest import ROOT
from tests.models.tiny import TINY
from tests.training.runs import ALONE, recipe

GALR_CONFIG: dict[str, Any] = {
    "filters": 16,
    "window": 16,
    "segment": 10,
    "summary": 4,
    "blocks": 3,
    "hidden": 8,
    "heads": 2,
}
PAPEZ_CONFIG: dict[str, Any] = {
    "width": 16,
    "window": 16,
    "chunk": 10,
    "memory": 2,
    "depth": 3,
    "heads": 2,
    "feedforward": 32,
}
CPU = torch.device("cpu")


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "teacher.safetensors"
    header = Header(model="galr", config=GALR_CONFIG, sample_rate=8000, sources=2)
    checkpoints.save(path, build_model("galr", GALR_CONFIG, None).state_dict(), header)
    return path


def test_the_guide_names_the_models_whose_states_can_be_compared() -> None:
    guide = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"\*\*Teacher and student\*\* are (.+?), with", guide)
    models = {name for name, config in TINY.items() if isinstance(build_model(name, config, None), RecordsStates)}
    assert set(re.split(", | or ", named.lower())) == models


def test_states_equal_to_the_teachers_as_far_as_both_go_leave_nothing_to_learn() -> None:
    torch.manual_seed(0)
    targets = 3 * torch.randn(2, 500, 7) + 5
    standard = (targets - targets.mean((0, 1))) / targets.std((0, 1), correction=0)
    assert distance(torch.cat((standard[:, :490], torch.randn(2, 490, 4)), dim=-1), targets).item() < 0.1
    assert distance(torch.cat((standard, torch.randn(2, 500, 4)), dim=-1), targets).item() < 1e-6
    assert distance(torch.zeros(2, 500, 7), targets).item() == pytest.approx(1, abs=0.001)


def test_a_channel_that_does_not_move_counts_for_nothing() -> None:
    targets = torch.cat((torch.randn(1, 500, 1), torch.full((1, 500, 1), 0.3)), dim=-1)
    assert distance(torch.zeros(1, 500, 2), targets).item() == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("galr", {}),
        ("sepformer", {}),
        ("tiny-sepformer", {}),
        ("dprnn", {}),
        ("dprnn", {"padding": "unfold"}),
        ("dptnet", {}),
    ],
    ids=["galr", "sepformer", "tiny-sepformer", "dprnn", "dprnn unfold", "dptnet"],
)
def test_states_of_dual_path_networks_are_what_masks_are_made_from(name: str, changes: dict[str, object]) -> None:
    torch.manual_seed(0)
    model: Any = build_model(name, TINY[name] | changes, None).eval()
    model.activation = torch.nn.Identity()  # between the last block and the masks
    split: list[Any] = []
    model.split.register_forward_hook(lambda _module, given, _output: split.append(given))
    with torch.no_grad(), model.record_states() as states:
        model(torch.randn(2, 333))
    assert len(states) == model.config.blocks
    ((segments, count, padding),) = split
    torch.testing.assert_close(states[-1][:, :count], 0.5 * frames.overlap_add(segments, count, padding))
    with torch.no_grad():  # outside of the context nothing is collected
        model(torch.randn(2, 333))
    assert len(states) == model.config.blocks


def test_the_network_with_more_blocks_skips_some_of_them(teacher: Path) -> None:
    torch.manual_seed(0)
    student = Papez(PapezConfig(**PAPEZ_CONFIG, halting="none"))  # three steps, as the teacher has blocks
    of, mixture = Teacher(Distillation(teacher=str(teacher), weight=1.0), student, 8000, CPU), torch.randn(1, 500)
    with torch.no_grad(), of.network.record_states() as targets:
        of.network(mixture)
    first, _, last = targets
    padded = [torch.cat((state, torch.zeros(1, 9, 16)), dim=1) for state in (first, last)]  # of other lengths
    states = [torch.randn(1, 62, 16) for _ in range(5)]
    expected = torch.stack([distance(states[place], target) for place, target in zip((1, 2, 4), targets, strict=True)])
    torch.testing.assert_close(of.loss(mixture, states), expected.mean())
    expected = torch.stack([distance(states[0], padded[1])])
    torch.testing.assert_close(of.loss(mixture, states[:1]), expected.mean())


def test_states_of_papez_are_those_after_every_step() -> None:
    torch.manual_seed(0)
    model = Papez(PapezConfig(**PAPEZ_CONFIG, halting="none")).eval()
    with torch.no_grad(), model.record_states() as states:
        model(torch.randn(2, 333))
        final = model.iterate(*model.embed(model.encode(torch.randn(2, 333))))
    assert len(states) == 6
    torch.testing.assert_close(states[-1], final)


def test_a_student_comes_nearer_to_its_teacher(teacher: Path) -> None:
    torch.manual_seed(1)
    student = Papez(PapezConfig(**PAPEZ_CONFIG, halting="none", dropout=0.0))
    of = Teacher(Distillation(teacher=str(teacher), weight=1.0), student, 8000, CPU)
    optimizer, mixture = torch.optim.Adam(student.parameters(), lr=3e-3), torch.randn(2, 400)
    losses = []
    for _ in range(12):
        with of.record_student() as states:
            student(mixture)
        loss = of.loss(mixture, states)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(weight.grad is None for weight in of.network.parameters())


def test_of_a_student_with_more_frames_those_in_the_middle_of_the_teachers_are_compared(teacher: Path) -> None:
    student = Papez(replace(PapezConfig(**PAPEZ_CONFIG, halting="none"), window=4))
    of, mixture = Teacher(Distillation(teacher=str(teacher), weight=1.0), student, 8000, CPU), torch.randn(1, 800)
    assert (of.network.config.window, of.frames) == (16, 4)
    states = torch.randn(1, 399, 16)
    with torch.no_grad(), of.network.record_states() as targets:
        of.network(mixture)
    compared = states[:, 3::4]  # the fourth window, samples 6 to 10, is in the middle of the teacher's first, 0 to 16
    torch.testing.assert_close(of.loss(mixture, [states]), distance(compared, targets[-1]))


def test_of_a_student_with_equal_windows_those_that_start_together_are_compared(teacher: Path) -> None:
    student = GALR(GALRConfig(**GALR_CONFIG, stride=4))
    of, mixture = Teacher(Distillation(teacher=str(teacher), weight=1.0), student, 8000, CPU), torch.randn(1, 800)
    states = torch.randn(1, 197, 16)
    with torch.no_grad(), of.network.record_states() as targets:
        of.network(mixture)
    torch.testing.assert_close(of.loss(mixture, [states]), distance(states[:, ::2], targets[-1]))


def test_a_run_with_a_teacher_has_its_loss_and_none_of_its_weights(
    manifests: Path, tmp_path: Path, teacher: Path
) -> None:
    changes = {"model": "papez", "config": PAPEZ_CONFIG | {"halting": "none", "dropout": 0.0}}
    alone = Trainer(recipe(manifests, **changes), tmp_path / "alone", ALONE)
    taught = Trainer(
        recipe(manifests, **changes, distillation={"teacher": str(teacher), "weight": 5.0}), tmp_path / "taught", ALONE
    )
    batch = torch.stack([torch.from_numpy(alone.role.training_set(0)[0, item]) for item in range(2)])
    own, more = taught.role.losses_and_auxiliary(batch)
    assert 5 < more["distillation"].item() < 15  # weight times 2: states that have nothing in common
    expected, nothing = alone.role.losses_and_auxiliary(batch)
    assert nothing == {}
    torch.testing.assert_close(own, expected)
    assert taught.model.state_dict().keys() == alone.model.state_dict().keys()


def test_the_floor_of_the_loss_is_about_separation_alone(manifests: Path, tmp_path: Path, teacher: Path) -> None:
    changes: dict[str, Any] = {
        "model": "papez",
        "config": PAPEZ_CONFIG | {"halting": "none", "dropout": 0.0},
        "distillation": {"teacher": str(teacher), "weight": 5.0},
    }
    batch = torch.randn(2, 2, 400)
    own, more = Trainer(recipe(manifests, **changes), tmp_path, ALONE).role.losses_and_auxiliary(batch)
    run = Trainer(recipe(manifests, **changes, loop={"loss_floor": own.max().item() + 1}), tmp_path, ALONE)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    expected = {"loss": own.mean().item(), "gradient": 0, "distillation": more["distillation"].item()}
    assert run.step(batch) == pytest.approx(expected)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "galr", "data": {"sample_rate": 16000}}, "hears 8000 Hz, data.sample_rate is 16000"),
        ({"model": "conv-tasnet"}, "the model does not show the states that distillation compares"),
        (
            {"model": "papez", "config": PAPEZ_CONFIG | {"width": 8}},
            "have 16 channels, the model's 8; distillation takes a model with as many or more",
        ),
        (
            {"model": "papez", "config": PAPEZ_CONFIG | {"window": 32}},
            "has a frame every 8 samples, the model every 16; distillation takes a model with as many frames",
        ),
    ],
)
def test_who_cannot_be_taught_is_told(
    manifests: Path, tmp_path: Path, teacher: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(recipe(manifests, **changes, distillation={"teacher": str(teacher)}), tmp_path / "run")


def test_an_extractor_is_not_taught() -> None:
    chosen = recipe_from_dict({"model": "atss-net", "distillation": {"teacher": "galr"}})
    with pytest.raises(UsageError, match="distillation changes nothing for atss-net, which is no separator"):
        check_run(chosen, ALONE)
