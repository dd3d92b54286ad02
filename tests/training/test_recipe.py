"""Recipes: settings, inheritance, the names of runs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from septool.corpora import wsj0mix
from septool.errors import ConfigError, UsageError
from septool.losses import LOSSES
from septool.models import MODELS, galr, papez, sepformer
from septool.models.build import build_model, config_of
from septool.profiling.comparison import published_si_snri
from septool.training import recipe_files as recipes
from septool.training.recipe_changes import run_name


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_settings_override_a_recipe() -> None:
    changed = recipes.load_recipe("galr-small", ["loop.batch=7", "optimizer.name=adam"])
    assert (changed.loop.batch, changed.optimizer.name) == (7, "adam")
    with pytest.raises(ConfigError, match=r"did you mean 'loop\.batch'"):
        recipes.load_recipe("galr-small", ["loop.bach=7"])


def test_other_data_are_not_called_by_the_name_of_the_recipes_own() -> None:
    def name(*settings: str) -> str:
        return recipes.load_recipe("galr-small", settings).data.name

    assert name().startswith("LibriSpeech")
    assert name("data.train=data/train-speech.jsonl", "loop.batch=3") == name()  # what the recipe says
    assert name("data.train=mine/speech.jsonl") == "mine/speech.jsonl"
    assert name("data.train=mine/speech.jsonl", "data.name=Mine") == "Mine"
    kept = recipes.recipe_record(recipes.load_recipe("galr-small", ["data.train=mine.jsonl", "data.name=Mine"]))
    assert recipes.recipe_from_dict(kept, ["loop.batch=3"]).data.name == "Mine"
    with pytest.raises(ConfigError, match="data"):
        recipes.load_recipe("galr-small", ["data=5"])


def test_a_recipe_stands_on_another(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", 'model = "galr"\npublished = { si_snri = 1.0 }\n[loop]\nbatch = 2\nsteps = 5')
    own = write(tmp_path / "b.toml", 'base = "a.toml"\npublished = { sdri = 2.0 }\n[loop]\nbatch = 3')
    chosen = recipes.load_recipe(own)
    assert (chosen.model, chosen.loop.batch, chosen.loop.steps) == ("galr", 3, 5)
    assert chosen.published == {"sdri": 2.0}
    on_bundled = recipes.load_recipe(write(tmp_path / "c.toml", 'base = "galr-small"'))
    assert on_bundled == recipes.load_recipe("galr-small")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("galr-smal", "; did you mean 'galr-small' or 'galr-small-3mix' or 'galr-small-3mix-2'?"),
        ("sandglaset", "; did you mean 'sandglasset-wsj0-2mix'?"),
        ("galr", "; did you mean 'galr-small' or 'galr-wsj0-2mix' or 'galr-small-3mix'?"),
        ("quite-another", ""),
    ],
)
def test_an_unknown_recipe_is_told_with_a_few_near_ones(name: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        recipes.load_recipe(name)
    assert str(error.value) == f"unknown recipe '{name}'{said}; septool train --list shows all"


def test_a_base_that_is_none_is_worded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown recipe 'galr-smal'; did you mean 'galr-small'"):
        recipes.load_recipe(write(tmp_path / "a.toml", 'base = "galr-smal"'))
    with pytest.raises(ConfigError, match="is its own base"):
        recipes.load_recipe(write(tmp_path / "a.toml", 'base = "a.toml"'))
    with pytest.raises(ConfigError, match="base is 3; it is the name of a recipe"):
        recipes.load_recipe(write(tmp_path / "a.toml", "base = 3"))


def test_a_run_is_named_by_what_its_settings_change(tmp_path: Path) -> None:
    name = run_name
    assert name("galr-small") == "galr-small"
    assert name("galr-small", ["loop.batch=2"]) == "galr-small"  # what the recipe says anyway
    one = name("galr-small", ["loop.batch=7", "optimizer.betas=[0.8, 0.9]", "data.train=a/b.jsonl"])
    assert one == "galr-small+data.train=a_b.jsonl+loop.batch=7+optimizer.betas=_0.8,0.9_"
    assert name("galr-small", ["optimizer.lr=0.1", "loop.batch=7"]) == name(
        "galr-small", ["loop.batch=7", "optimizer.lr=0.1"]
    )
    long = [name("galr-small", [f"data.name={letter * 200}"]) for letter in "ab"]
    assert len(set(long)) == 2
    assert all(len(each) < 120 for each in long)
    path = write(tmp_path / "own.toml", 'base = "galr-small"')
    assert name(path, ["seed=1"]) == "own+seed=1"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("loop.steps=0", "loop: steps is 0; it lies between 1 and 1000000000"),
        ("loop.batch=0", "loop: batch is 0; it lies between 1 and 1000000"),
        ("loop.accumulate=0", "loop: accumulation_steps is 0; it lies between 1 and 1000000"),
        ("loop.epoch_steps=0", "loop: epoch_steps is 0; it lies between 1 and 1000000000"),
        ("data.validation_items=0", "data: validation_items is 0; it lies between 1 and 1000000000"),
        ("data.sample_rate=0", "data: sample_rate is 0; it lies between 1000 and 1000000"),
        ("schedule.every=0", "schedule: every is 0; it lies between 1 and 1000000000"),
        ("optimizer.lr=nan", "optimizer: lr is nan; it lies between 0 and 100"),
        ("optimizer.clip=-1", "optimizer: clip is -1.0; it lies between 0 and 1000000"),
        ("schedule.warmup=-5", "schedule: warmup is -5; it lies between 0 and 1000000000"),
        ("loop.patience=-1", "loop: patience is -1; it lies between 0 and 1000000000"),
        ("loop.ema=2", "loop: ema is 2.0; it lies between 0 and 1"),
        ("seed=-1", "Recipe: seed is -1; it lies between 0 and 18446744073709551615"),
        ("optimizer.betas=[0.9, 1.0]", "optimizer: betas is [0.9, 1.0]; each lies between 0 and 1"),
        ("parts={speaker=3}", "parts.speaker is 3; it has to be of type str"),
        (
            "schedule.patience=5",
            "schedule.patience changes nothing where schedule.name is trapezoid; it is for plateau",
        ),
        ("distillation.weight=3", "distillation: weight is 3.0, but there is no teacher"),
        ("freeze=encoder", "freeze is 'encoder'; it has to be a list, such as ['encoder']"),
        ("loop.average_of=last", "loop: average_of is last, but average, how many are averaged, is 0"),
    ],
)
def test_settings_that_make_no_sense(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        recipes.load_recipe("galr-small", [setting])
    assert str(error.value) == said


def test_what_a_recipe_inherits_may_change_nothing_and_what_is_set_may_not() -> None:
    constant = recipes.load_recipe("galr-small-stage9", ["schedule.name=constant", "mixing.levels=wsj0-2mix"])
    assert constant.schedule.decay > 0
    with pytest.raises(ConfigError, match=r"schedule\.decay changes nothing where schedule\.name is constant"):
        recipes.load_recipe("galr-small-stage9", ["schedule.decay=9", "schedule.name=constant"])
    with pytest.raises(ConfigError, match=r"mixing\.difference_db changes nothing where mixing\.levels is wsj0-2mix"):
        recipes.recipe_from_dict(recipes.recipe_record(constant), ["mixing.difference_db=[0, 1]"])


def test_clips_to_begin_with_have_one_length() -> None:
    assert recipes.load_recipe("speaker-net-8k", ["mixing.seconds=0", "speakers.imprint=0"]).mixing.seconds == 0
    with pytest.raises(ConfigError, match=r"speakers\.imprint takes clips of one length, mixing\.seconds; it is 0"):
        recipes.load_recipe("speaker-net-8k", ["mixing.seconds=0", "speakers.imprint=2"])


@pytest.mark.parametrize(
    "setting",
    [
        "random_eq_db=3.0",
        "rooms.manifest=a",
        'backgrounds=[{manifest="a"}]',
        "speed=[0.9, 1.1]",
        "difference_db=[0, 0]",
        "levels=wsj0-2mix",
        "draw_by=utterance",
    ],
)
def test_what_fixed_mixtures_cannot_have_is_refused(setting: str) -> None:
    said = rf"mixing\.{setting.split('=')[0].split('.')[0]} changes nothing"
    recipes.load_recipe("galr-small", ["data.mixing=dynamic", f"mixing.{setting}"])
    with pytest.raises(ConfigError, match=said):
        recipes.load_recipe("galr-small", ["data.mixing=static", f"mixing.{setting}"])


def test_what_fixed_mixtures_do_not_have_is_not_recorded() -> None:
    drawn = recipes.load_recipe("galr-small")
    fixed = recipes.load_recipe("sepformer-wsj0-2mix")
    assert recipes.effective_record(drawn) == recipes.recipe_record(drawn)
    assert recipes.effective_record(fixed)["mixing"] == {"sources": 2, "seconds": 0.0}
    assert recipes.recipe_from_dict(recipes.effective_record(fixed)) == fixed


# What the papers say of training: where a recipe differs from it, one of the two is wrong. By the beginning of the
# recipe's name; the longest that fits counts.
PUBLISHED: dict[str, dict[str, Any]] = {
    "sepformer-": {  # section 3.2
        "optimizer": {"name": "adam", "lr": 15e-5, "clip": 5.0, "weight_decay": 0.0},
        "schedule": {"name": "plateau", "start": 65, "factor": 0.5, "patience": 2},
        "loop": {"batch": 1, "loss_floor": -30.0, "precision": "fp16"},
        "mixing": {"seconds": 0.0},
        "epochs": 200,
    },
    "papez-": {  # section 4.1
        "optimizer": {"name": "adamw", "lr": 1e-4, "weight_decay": 1e-4, "clip": 1.0},
        "schedule": {"name": "exponential", "factor": 0.98, "every": 1},
        "loop": {"batch": 1, "precision": "fp16", "loss_floor": None},
        "mixing": {"seconds": 0.0},
        "epochs": 200,
    },
    "papez-libri": {"epochs": 100},
    "dp-rcnet-": {  # section 3.3
        "optimizer": {"name": "adam", "lr": 1e-3, "clip": 5.0},
        "schedule": {"name": "exponential", "factor": 0.98, "every": 2, "turn": 100, "later_factor": 0.9},
        "loop": {"patience": 10, "precision": "fp16"},
        "mixing": {"seconds": 4.0},
        "epochs": 150,
    },
    "galr-": {  # section 3.1.3
        "optimizer": {"name": "adam", "lr": 1e-3, "weight_decay": 1e-6, "clip": 5.0},
        "schedule": {"name": "exponential", "factor": 0.96, "every": 2},
        "loop": {"patience": 10},
        "mixing": {"seconds": 4.0},
    },
    "atss-net-": {  # sections 4.1.2 and 4.2
        "optimizer": {"name": "adam", "lr": 1e-4},
        "loop": {"batch": 16, "patience": 10},
        "mixing": {"seconds": 3.0, "difference_db": (0.0, 0.0)},
        "data": {"sample_rate": 16000},
        "epochs": 50,
    },
    "dptnet-": {  # the authors' code
        "optimizer": {"name": "adam", "betas": (0.9, 0.98), "eps": 1e-9, "clip": 5.0},
        "schedule": {"name": "exponential", "factor": 0.98, "every": 2, "warmup": 4000},
        "loop": {"batch": 1},
        "mixing": {"seconds": 4.0},
    },
    "dptnet-wsj0-2mix-stride8": {  # as GALR, in its Table 3
        "optimizer": {"betas": (0.9, 0.999), "eps": 1e-8},
        "schedule": {"factor": 0.96, "warmup": 0},
        "loop": {"batch": 8},
    },
    "re-sepformer-": {  # the recipe in SpeechBrain
        "optimizer": {"name": "adam", "lr": 15e-5, "clip": 5.0, "weight_decay": 0.0},
        "schedule": {"name": "plateau", "start": 85, "factor": 0.5, "patience": 2},
        "loop": {"batch": 1, "loss_floor": -30.0, "precision": "fp32"},
        "mixing": {"seconds": 4.0, "speed": (0.95, 1.05)},
        "epochs": 200,
    },
    "tf-gridnet-": {  # the recipe in ESPnet
        "optimizer": {"name": "adam", "lr": 1e-3, "clip": 5.0, "weight_decay": 0.0},
        "schedule": {"name": "plateau", "factor": 0.5, "patience": 3, "start": 0, "warmup": 0},
        "loop": {"batch": 3, "patience": 5, "precision": "fp32"},
        "mixing": {"seconds": 4.0},
        "epochs": 150,
    },
    "tf-locoformer-": {  # the authors' recipe
        "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 1e-2, "clip": 5.0},
        "schedule": {"name": "plateau", "factor": 0.5, "patience": 3, "warmup": 4000},
        "loop": {"batch": 4, "patience": 10, "precision": "fp32", "average": 5, "average_of": "best"},
        "mixing": {"seconds": 4.0},
        "epochs": 150,
    },
}
PUBLISHED["voicefilter-"] = PUBLISHED["atss-net-"]
SPEECHBRAIN = {"speed": (0.95, 1.05), "levels": "wsj0-2mix", "draw_by": "utterance"}  # its dynamic mixing
DYNAMIC = {
    "sepformer-": {"schedule": {"start": 100, "patience": 4}, "mixing": SPEECHBRAIN},
    "re-sepformer-": {"mixing": SPEECHBRAIN},
    "papez-wsj0": {"mixing": {"speed": (1.0, 1.0), "levels": "wsj0-2mix", "draw_by": "utterance"}},
}
# Mixtures in a manifest, of the published lists; LibriMix's train-360 has 50,800.
SIZES = {
    "tr-wsj0-2mix": len(wsj0mix.read_list(2, "tr")),
    "tr-wsj0-3mix": len(wsj0mix.read_list(3, "tr")),
    "tr-wham": len(wsj0mix.read_list(2, "tr")),
    "train-100-libri2mix": 13_900,
    "train-360-libri2mix": 50_800,
}
NAMES = sorted(path.stem for path in recipes.RECIPES.glob("*.toml"))
OUR_OWN = {
    "atss-net-small-8k",
    "band-gridnet-small",
    "galr-small",
    "galr-small-3mix",
    "galr-small-3mix-2",
    "galr-small-stage2",
    "galr-small-stage3",
    "galr-small-stage4",
    "galr-small-stage5",
    "galr-small-stage6",
    "galr-small-stage7",
    "galr-small-stage8",
    "galr-small-stage9",
    "papez-small",
    "papez-small-distilled",
    "papez-small-distilled-2",
    "papez-small-distilled-3",
    "papez-small-halting",
    "papez-small-halting-2",
    "sepformer-small",
    "speaker-net-8k",
    "speaker-net-8k-stage2",
    "speaker-net-8k-stage3",
}
# The first of two steps: scores are published of what the second makes of it.
FIRST_STEPS = {"two-step-tdcn-libri2mix-step1", "two-step-tdcn-wsj0-2mix-step1"}
# Tables of which no row has costs, so that septool.profiling.papers does not know them.
SCORES: dict[str, dict[str, float]] = {
    "galr-wsj0-2mix-lstm-lstm": {"si_snri": 15.9},  # Table 2: local, then global
    "galr-wsj0-2mix-attention-lstm": {"si_snri": 12.3},
    "galr-wsj0-2mix-attention-attention": {"si_snri": 14.6},
    "galr-wsj0-2mix-d128-m16": {"si_snri": 17.0},
    "atss-net-librispeech": {"sdr_improved": 9.30},  # Table 3
    "atss-net-librispeech-no-attention": {"sdr_improved": 3.88},
    "atss-net-pit-librispeech": {"sdr_improved": 8.57},
    "voicefilter-librispeech": {"sdr_improved": 7.78},
    "atss-net-aishell2": {f"pesq_at_{snr}_db": pesq for snr, pesq in {5: 2.06, 10: 2.42, 15: 2.87, 20: 3.22}.items()},
    "re-sepformer-wsj0-2mix-dm": {"si_snri": 18.6},  # the results in SpeechBrain
    "tf-gridnet-wsj0-2mix": {"si_snri": 23.5},  # the abstract
    "tf-gridnet-wsj0-2mix-d48-32ms": {"si_snri": 23.2},  # what the authors report of their code
    "tf-gridnet-wsj0-2mix-d48-v1": {"si_snr": 22.8},
    "tf-gridnet-wsj0-2mix-d128-i1": {"si_sdr": 23.1},
    "tf-locoformer-wsj0-2mix": {"si_snr": 23.64, "sdr": 23.93},  # the authors' repository
    "tf-locoformer-wsj0-2mix-l-dm": {"si_snri": 25.1, "sdri": 25.2},  # lists of what papers report
    "tf-locoformer-wsj0-2mix-s-dm": {"si_snri": 22.8, "sdri": 23.0},
    "tf-locoformer-libri2mix": {"si_sdri": 22.1, "sdri": 22.2},
    "voicefilter-aishell2": {
        f"pesq_at_{snr}_db": pesq for snr, pesq in {5: 1.83, 10: 2.13, 15: 2.41, 20: 2.62}.items()
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_recipe_builds_its_model(name: str) -> None:
    chosen = recipes.load_recipe(name)
    with torch.device("meta"):
        model = build_model(chosen.model, chosen.config, chosen.variant)
    assert chosen.data.sample_rate in (8000, 16000)
    assert sum(parameter.numel() for parameter in model.parameters()) > 100_000
    assert (chosen.loss or model.loss) in LOSSES
    if model.role == "separator":
        assert chosen.mixing.sources == model.sources
    assert chosen.loop.steps % chosen.loop.epoch_steps == 0 or name in OUR_OWN


def expectations(name: str) -> dict[str, Any]:
    """What is published of a recipe, by section; "epochs" beside them."""
    expected: dict[str, Any] = {}
    tables = [PUBLISHED, DYNAMIC] if name.endswith("-dm") else [PUBLISHED]
    for table in tables:
        for beginning in sorted(table, key=len):
            if name.startswith(beginning):
                for section, values in table[beginning].items():
                    known = expected.get(section, {})
                    expected[section] = known | values if isinstance(values, dict) else values
    return expected


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OUR_OWN])
def test_a_recipe_says_what_its_paper_says(name: str) -> None:
    chosen = recipes.load_recipe(name)
    if name in FIRST_STEPS:
        assert not chosen.published
    else:
        assert {"table", "data"} < chosen.published.keys()
    for section, values in expectations(name).items():
        if section == "epochs":
            assert chosen.loop.steps == values * chosen.loop.epoch_steps
        else:
            part = getattr(chosen, section)
            assert {key: getattr(part, key) for key in values} == values
    drawn = name.endswith("-dm") or any(corpus in name for corpus in ("librispeech", "voxceleb", "aishell"))
    assert (chosen.data.mixing == "dynamic") == drawn
    for beginning, size in SIZES.items():
        if f"/{beginning}" in chosen.data.train:
            assert chosen.loop.epoch_steps == size // chosen.loop.batch


def test_the_tables_of_the_papers_are_covered() -> None:
    names = set(NAMES)
    for row in sepformer.CONFIGS.keys() - {"paper", "3mix"}:
        assert recipes.load_recipe(f"sepformer-wsj0-2mix-{row}").variant == row
    for model, rows, best in (("galr", galr.CONFIGS, "d128-m4"), ("papez", papez.CONFIGS, "paper")):
        assert {f"{model}-wsj0-2mix-{row}" for row in rows if row != best} < names
    ours = {recipes.load_recipe(name).model for name in names - OUR_OWN}
    assert set(MODELS) - ours <= {"band-gridnet", "campplus"}  # those of no paper here, or not trained
    for name, scores in SCORES.items():
        assert recipes.load_recipe(name).published.items() >= scores.items(), name


def test_published_scores_are_those_of_the_cost_tables() -> None:
    compared = 0
    for name in NAMES:
        chosen = recipes.load_recipe(name)
        tested = "test" in chosen.published.get("data", "")
        if chosen.data.name == "WSJ0-2mix" and chosen.data.mixing == "static" and tested:
            known = published_si_snri(chosen.model, config_of(chosen.model, chosen.config, chosen.variant))
            if known is not None:
                assert abs(chosen.published["si_snri"] - known) < 0.11, name  # papers round and differ by so much
                compared += 1
    assert compared > 15
