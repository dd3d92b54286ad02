"""Training a speaker network, and an extractor on top of it: both run, resume and leave usable checkpoints."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septool import audio, checkpoints
from septool.data import manifest, trials
from septool.data.enrollment import SpeakerSampling, sample_clips
from septool.data.manifest import Enrollment, Mixture, Source
from septool.data.mixing import DynamicMixing
from septool.errors import CheckpointError, ConfigError, ManifestError, UsageError
from septool.models.base import Extractor, Model
from septool.models.build import build_model
from septool.models.speaker_net import SpeakerNet
from septool.scoring.verification import embed_recording
from septool.signal.levels import at_model_level
from septool.tasks.prepare import prepare
from septool.tasks.train import check_run, train
from septool.training.distributed import Distributed, init_distributed
from septool.training.recipe import Recipe
from septool.training.recipe_files import recipe_from_dict
from septool.training.trainer import Trainer
from tests.conftest import RATE
from tests.models.tiny import SPEAKER, TINY_EXTRACTORS
from tests.training.runs import ALONE
from tests.training.test_distributed import in_two

NET = SPEAKER | {"rate": RATE, "speakers": 4}
LOOP = {"steps": 4, "epoch_steps": 2, "batch": 2}


@pytest.fixture(scope="module")
def data(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as a pool, two mixtures with enrollments, trials, and an untrained speaker network."""
    folder = tmp_path_factory.mktemp("data")
    prepare("folder", tree, out=folder, split="train", jobs=1)

    def name(speaker: int, utterance: int) -> str:
        return f"{tree}/speaker{speaker}/chapter/{utterance}.wav"

    rows = [
        Mixture(
            id=f"m{speaker}",
            sample_rate=RATE,
            sources=(Source(path=name(speaker, 0)), Source(path=name(speaker + 1, 0))),
            enrollment=Enrollment(path=name(speaker + target, 1), target=target),
        )
        for speaker, target in ((0, 0), (2, 1))
    ]
    (folder / "dev.jsonl").write_text(manifest.dump_manifest(rows))
    pairs = [(int(a == b), name(a, 0), name(b, 1)) for a in range(4) for b in range(4)]
    (folder / "trials.txt").write_text("".join(f"{same} {one} {two}\n" for same, one, two in pairs))
    header = checkpoints.Header(model="speaker-net", config=NET, sample_rate=RATE, sources=0)
    checkpoints.save(folder / "speaker.safetensors", build_model("speaker-net", NET).state_dict(), header)
    return folder


def speaker_recipe(data: Path, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "model": "speaker-net",
        "loss": "additive-margin",
        "config": NET,
        "data": {"train": str(data / "train-speech.jsonl"), "validation": str(data / "trials.txt")},
        "mixing": {"seconds": 0.3, "difference_db": [-30.0, -20.0]},
        "loop": LOOP,
    }
    return recipe_from_dict(values | changes)


def extractor_recipe(data: Path, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "model": "voicefilter",
        "config": TINY_EXTRACTORS["voicefilter"] | {"speaker": SPEAKER | {"rate": RATE}},
        "data": {"train": str(data / "train-speech.jsonl"), "validation": str(data / "dev.jsonl")},
        "mixing": {"seconds": 0.25},
        "enrollment": {"seconds": 0.3, "absent": 0.5},
        "parts": {"speaker": f"{data}/speaker.safetensors#embedding"},
        "loop": LOOP,
    }
    return recipe_from_dict(values | changes)


def kept(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "last.pt", weights_only=True)["model"]


@pytest.mark.parametrize("make", [speaker_recipe, extractor_recipe])
def test_a_resumed_run_goes_on_to_the_same_numbers(data: Path, tmp_path: Path, make: Any) -> None:
    train(make(data), tmp_path / "whole")

    class StopError(Exception):
        pass

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 3:
            raise StopError

    with pytest.raises(StopError):
        train(make(data), tmp_path / "broken", report=stop)
    train(make(data), tmp_path / "broken", resume=True)
    ours, theirs = kept(tmp_path / "whole"), kept(tmp_path / "broken")
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_speaker_network_is_scored_by_its_equal_error_rate(data: Path, tmp_path: Path) -> None:
    best = train(speaker_recipe(data), tmp_path)
    model, header = checkpoints.load(tmp_path / "best.safetensors", SpeakerNet)
    assert 0 <= best <= 100
    assert header.measured == {"validation_eer": pytest.approx(best, abs=1e-3)}
    assert (header.model, header.sources) == ("speaker-net", 0)
    run = Trainer(speaker_recipe(data), tmp_path, ALONE)
    assert run.role.score(run.role.validation_set()) != best  # fresh weights
    run.role.model = model
    assert run.role.score(run.role.validation_set()) == pytest.approx(best)


def test_processes_share_out_the_recordings_of_trials(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Path] = []

    def embed(network: torch.nn.Module, path: Path, *arguments: Any) -> torch.Tensor:
        heard.append(path)
        return embed_recording(network, path, *arguments)

    monkeypatch.setattr("septool.training.verification.embed_recording", embed)

    def score(group: Distributed) -> tuple[float, list[str]]:
        heard.clear()
        run = Trainer(speaker_recipe(data), tmp_path, group)
        return run.validate(run.role.validation_set()), [str(path) for path in heard]

    def work() -> None:
        with init_distributed(torch.device("cpu")) as group:
            (tmp_path / str(group.rank)).write_text(json.dumps(score(group)))

    expected, every = score(ALONE)
    assert in_two(work) == [0, 0]
    (first, own), (second, others) = (json.loads((tmp_path / str(rank)).read_text()) for rank in range(2))
    assert first == second == expected
    assert sorted(own + others) == every  # each once
    assert len(own) == len(others) == 4


def test_less_is_better_for_an_error_rate(data: Path, tmp_path: Path) -> None:
    run = Trainer(speaker_recipe(data), tmp_path, ALONE)
    assert run.note_score(30.0)
    assert not run.note_score(40.0)
    assert run.note_score(20.0)
    assert run.state.progress.best == 20.0


def test_trials_without_a_cosine_count_as_wrong(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Trainer(speaker_recipe(data), tmp_path, ALONE)
    trials = run.role.validation_set()
    right = np.array([1.0 if trial.same else -1.0 for trial in trials])
    for scores, expected in ((right, 0.0), (np.full(len(trials), np.nan), 100.0)):
        monkeypatch.setattr("septool.training.verification.score_trials", lambda *_, scores=scores: scores)
        assert run.role.score(trials) == expected
    assert caplog.messages == ["for 16 of 16 trials the model gives NaN; each counts as wrong"]


def test_a_voice_encoder_without_a_classifier_is_not_trained(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="loss is additive-margin, by which campplus cannot learn; there is none"):
        train(speaker_recipe(data, model="campplus", config={"rate": RATE}), tmp_path)


def test_everybody_at_each_speed_is_a_speaker(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 4 speakers, 12 at 3 speeds; config\.speakers has to be that, not 4"):
        train(speaker_recipe(data, speakers={"speeds": [0.9, 1.1]}), tmp_path)


def test_an_imprinted_classifier_begins_with_what_everybody_sounds_like(data: Path, tmp_path: Path) -> None:
    sampling = SpeakerSampling(speeds=(0.8,), imprint=1)
    recipe = replace(speaker_recipe(data, config=NET | {"speakers": 8}), speakers=sampling)
    run = Trainer(recipe, tmp_path, ALONE)
    run.role.training_set(0)
    model = run.model
    assert isinstance(model, SpeakerNet)
    random = model.classifier.weight.detach().clone()
    run.role.begin()
    assert run.role.speech is not None
    model.eval()
    for speaker, row in enumerate(model.classifier.weight):
        clips = sample_clips(run.role.speech, recipe.mixing, sampling, speaker=speaker, seed=recipe.seed)
        embedding = model.embedding(at_model_level(torch.from_numpy(clips)))
        assert torch.cosine_similarity(embedding, row[None]).item() == pytest.approx(1.0, abs=1e-5)
        assert row.norm().item() == pytest.approx(random.norm(dim=-1).mean().item(), rel=1e-5)


def test_the_average_begins_with_the_imprinted_classifier(data: Path, tmp_path: Path) -> None:
    sampling, loop = SpeakerSampling(imprint=1), {**LOOP, "ema": 0.99}
    recipe = replace(speaker_recipe(data, config=NET | {"speakers": 4}, loop=loop), speakers=sampling)
    run = Trainer(recipe, tmp_path, ALONE)

    class StopError(Exception):
        pass

    def stop(_: Any) -> None:
        raise StopError

    with pytest.raises(StopError):
        run.fit(report=stop)  # at its start
    assert run.state.average is not None
    for name, value in run.model.state_dict().items():
        assert torch.equal(run.state.average.weights[name], value), name


def test_the_number_of_speakers_has_to_be_the_pools(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 4 speakers; config\.speakers has to be that, not 5"):
        train(speaker_recipe(data, config=NET | {"speakers": 5}), tmp_path)


def test_trials_of_one_kind_alone_are_told_before_training(data: Path, tmp_path: Path) -> None:
    whole = speaker_recipe(data)
    few = replace(whole, data=replace(whole.data, validation_items=1))
    with pytest.raises(ManifestError, match=r"its first 1 trials are of one kind; raise data\.validation_items"):
        train(few, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_trial_without_its_recording_is_told_before_training(data: Path, tmp_path: Path) -> None:
    whole, path = speaker_recipe(data), tmp_path / "trials.txt"
    rows = trials.read_trials(Path(whole.data.validation))
    path.write_text(trials.dump_trials([*rows, trials.Trial(True, rows[0].first, tmp_path / "gone.wav")]))
    with pytest.raises(ManifestError, match=r"gone\.wav does not exist; it is in the trials of .*trials\.txt"):
        train(replace(whole, data=replace(whole.data, validation=str(path))), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [speaker_recipe, extractor_recipe])
def test_mixtures_that_are_fixed_are_for_separators(data: Path, tmp_path: Path, make: Any) -> None:
    whole = replace(make(data), mixing=DynamicMixing())
    with pytest.raises(UsageError, match=f"static; {whole.model} learns from mixtures that are sampled"):
        train(replace(whole, data=replace(whole.data, mixing="static")), tmp_path)


def test_an_extractor_is_scored_on_the_voice_that_is_enrolled(data: Path, tmp_path: Path) -> None:
    best = train(extractor_recipe(data), tmp_path)
    model, header = checkpoints.load(tmp_path / "best.safetensors", Extractor)
    assert header.measured == {"validation_si_snri": pytest.approx(best, abs=1e-3)}
    assert (header.model, header.sources) == ("voicefilter", 1)
    run = Trainer(extractor_recipe(data), tmp_path, ALONE)
    items = run.role.validation_set()
    target = audio.load_audio(Path(manifest.read_manifest(data / "dev.jsonl")[1].sources[1].path), RATE)
    np.testing.assert_array_equal(items[1].target, target[: len(items[1].target)])
    run.role.model = model.eval()
    assert run.role.score(items) == pytest.approx(best)


def test_the_speaker_network_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    chosen = extractor_recipe(data)
    before = Trainer(chosen, tmp_path, ALONE).model.state_dict()
    train(chosen, tmp_path / "run")
    after = kept(tmp_path / "run")
    moved = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"network"}


def test_a_speaker_network_that_nobody_trained_is_refused(data: Path, tmp_path: Path) -> None:
    chosen = extractor_recipe(data, parts={})
    with pytest.raises(UsageError, match=r"speaker of voicefilter is not trained with it, .*; set parts\.speaker to"):
        train(chosen, tmp_path)
    check_run(replace(chosen, config=chosen.config | {"joint": True}), ALONE)


def test_a_mixture_without_enrollment_cannot_validate_an_extractor(data: Path, tmp_path: Path) -> None:
    rows = [replace(row, enrollment=None) for row in manifest.read_manifest(data / "dev.jsonl")]
    (tmp_path / "dev.jsonl").write_text(manifest.dump_manifest(rows))
    whole = extractor_recipe(data)
    chosen = replace(whole, data=replace(whole.data, validation=str(tmp_path / "dev.jsonl")))
    with pytest.raises(ManifestError, match="mixture m0 has no enrollment"):
        train(chosen, tmp_path / "run")


@pytest.fixture
def parts(data: Path, tmp_path: Path) -> dict[str, str]:
    """Checkpoints of an extractor and of a speaker network."""
    filters = extractor_recipe(data).config
    for model, config, sources in (("voicefilter", filters, 1), ("speaker-net", NET, 0)):
        header = checkpoints.Header(model=model, config=config, sample_rate=RATE, sources=sources)
        checkpoints.save(tmp_path / f"{model}.safetensors", build_model(model, config).state_dict(), header)
    return {
        "network": f"{tmp_path / 'voicefilter.safetensors'}#network",
        "speaker": f"{tmp_path / 'speaker-net.safetensors'}#embedding",
    }


def test_parts_start_from_other_checkpoints(data: Path, tmp_path: Path, parts: dict[str, str]) -> None:
    model = Trainer(extractor_recipe(data, parts=parts), tmp_path, ALONE).model
    for part, name in parts.items():
        path, _, inner = name.partition("#")
        other, _ = checkpoints.load(Path(path), Model)
        for key, value in other.get_submodule(inner).state_dict().items():
            assert torch.equal(model.state_dict()[f"{part}.{key}"], value), key


def test_parts_that_do_not_fit_are_worded(data: Path, tmp_path: Path, parts: dict[str, str]) -> None:
    def start(chosen: dict[str, str]) -> None:
        Trainer(extractor_recipe(data, parts=chosen), tmp_path, ALONE)

    with pytest.raises(UsageError, match="unknown part of the model 'netwerk'; did you mean 'network'"):
        start({"netwerk": parts["network"]})
    with pytest.raises(CheckpointError, match=r"does not fit 'speaker': '.*' is not in the part in this shape"):
        start({"speaker": parts["network"]})
    with pytest.raises(CheckpointError, match="does not fit 'speaker': it has nothing under 'embeding'"):
        start({"speaker": parts["speaker"].replace("embedding", "embeding")})


def test_a_step_that_is_not_finite_leaves_the_statistics_of_norms(data: Path, tmp_path: Path) -> None:
    chosen = Recipe(model="voicefilter", config=TINY_EXTRACTORS["voicefilter"])
    run = Trainer(chosen, tmp_path, ALONE)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    assert any("running" in name for name in before)
    run.step((torch.full((2, 2, 400), torch.inf), torch.randn(2, 400)))
    assert run.state.progress.skipped_steps == 1
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
