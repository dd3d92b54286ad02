"""Defaults of files and variables: which wins, where each is from, and what is refused."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from septool import audio, cli
from septool.commands import completion, defaults
from septool.metrics import METRICS
from septool.models import SPEAKER_MODEL
from tests.conftest import RATE, Command, Result

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="the user's folder is not where a variable says")


@pytest.fixture
def write_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write the current folder's defaults and the user's."""
    (tmp_path / "here").mkdir()
    (tmp_path / "home" / "septool").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))

    def write(here: str = "", user: str = "") -> None:
        (tmp_path / "here" / "septool.toml").write_text(here)
        (tmp_path / "home" / "septool" / "septool.toml").write_text(user)

    return write


def shown(result: Result) -> dict[str, tuple[Any, str]]:
    assert result.status == 0, result.errors
    return {(row := json.loads(line))["option"]: (row["value"], row["source"]) for line in result.lines}


def test_each_place_overrules_those_before_it(
    septool: Command, write_defaults: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(septool("config", "show", "separate", "--json"))["jobs"][1] == "default"
    places = [
        ({"user": "jobs = 2"}, "home/septool/septool.toml"),
        ({"user": "jobs = 2\n[separate]\njobs = 3"}, "home/septool/septool.toml [separate]"),
        ({"user": "[separate]\njobs = 3", "here": "jobs = 4"}, "septool.toml"),
        ({"user": "[separate]\njobs = 3", "here": "jobs = 4\n[separate]\njobs = 5"}, "septool.toml [separate]"),
    ]
    found = []
    for files, source in places:
        write_defaults(**files)
        value, where = shown(septool("config", "show", "separate", "--json"))["jobs"]
        assert where.removeprefix(f"{tmp_path}/") == source
        found.append(int(value))
    for name in ("SEPTOOL_JOBS", "SEPTOOL_SEPARATE_JOBS"):
        monkeypatch.setenv(name, str(found[-1] + 1))
        value, where = shown(septool("config", "show", "separate", "--json"))["jobs"]
        assert where == f"${name}"
        found.append(int(value))
    assert found == [2, 3, 4, 5, 6, 7]


def test_defaults_are_in_force(separate: Command, write_defaults: Any, call: Path, tmp_path: Path) -> None:
    write_defaults(here='[separate]\nformat = "flac"\nsegment = 2\noverlap = 0.5\n')
    assert separate(call).status == 0
    assert audio.audio_info(tmp_path / "out" / "call_s1.flac").rate == RATE
    result = separate(call, "--format", "wav")
    assert (result.status, (tmp_path / "out" / "call_s1.wav").is_file()) == (0, True)


def test_a_switch_and_a_list(septool: Command, write_defaults: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_defaults(here='[train]\nresume = true\nset = ["loop.batch=2", "loop.steps=3"]')
    monkeypatch.setenv("SEPTOOL_TRAIN_TENSORBOARD", "yes")
    settings = shown(septool("config", "show", "train", "--json"))
    assert settings["resume"] == (True, "septool.toml [train]")
    assert settings["set"] == (["loop.batch=2", "loop.steps=3"], "septool.toml [train]")
    assert settings["tensorboard"] == (True, "$SEPTOOL_TRAIN_TENSORBOARD")
    assert settings["compile"] == (False, "default")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[separate]\nsegmnt = 1", "unknown key 'segmnt' in [separate]; did you mean 'segment'?"),
        ("devise = 'cpu'", "unknown key 'devise' in the top level; did you mean 'device'?"),
        ("[seperate]\nsegment = 1", "unknown key 'seperate' in the top level; did you mean 'separate'?"),
        ("model = 'papez'", "options of a verb go under its name"),
        ("separate = 1", "unknown key 'separate' in the top level"),
        ("[separate]\nsegment = 0.1", "[separate]: --segment is '0.1'; it has to be at least 0.5"),
        ("[separate]\nsegment = [1, 2]", "segment is [1, 2]; it is one value, as on the command line"),
        ("force = 3", "force is 3; a switch is true or false"),
        ("[separate", "is not valid TOML"),
    ],
)
def test_what_makes_no_sense_is_refused(
    septool: Command, write_defaults: Any, call: Path, text: str, said: str
) -> None:
    write_defaults(here=text)
    result = septool("separate", call)
    assert (result.status, result.out, len(result.errors)) == (2, b"", 1)
    assert result.errors[0].startswith("septool: septool.toml")
    assert said in result.errors[0]
    assert septool("separate", "--help").status == 0  # which is where one looks then


def test_a_wrong_variable(septool: Command, call: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTOOL_SEPARATE_SEGMENT", "long")
    result = septool("separate", call)
    assert result.status == 2
    assert result.errors[0].startswith("septool: $SEPTOOL_SEPARATE_SEGMENT: --segment is 'long'; it has to be a number")
    monkeypatch.setenv("SEPTOOL_SEPARATE_SEGMENT", "")  # as good as unset
    monkeypatch.setenv("SEPTOOL_MODEL", "papez")
    monkeypatch.setenv("SEPTOOL_SEPERATE_FORMAT", "flac")
    for verb in (("config", "show"), ("models", "list"), ("separate", call, "--segment", "0")):
        errors = septool(*verb).errors
        said = "is no option's default, nor anything else that septool reads; did you mean"
        assert re.fullmatch(f"septool: the variable SEPTOOL_MODEL {said} SEPTOOL_[A-Z]+_MODEL\\?", errors[0])
        assert errors[1] == f"septool: the variable SEPTOOL_SEPERATE_FORMAT {said} SEPTOOL_SEPARATE_FORMAT?"
    assert septool("separate", "--help").errors == []


def test_values_are_checked_as_the_verb_would(septool: Command, write_defaults: Any) -> None:
    write_defaults(here="[separate]\nsegment = 0.1")
    shown_by = [septool("config", "show"), septool("config", "show", "separate"), septool("separate", "x.wav")]
    assert {result.status for result in shown_by} == {2}
    assert len({result.errors[0] for result in shown_by}) == 1
    assert septool("config", "show", "eval").status == 0


def test_a_file_named_has_to_be_there(septool: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTOOL_CONFIG", str(tmp_path / "mine.toml"))
    assert "is no file" in septool("config", "show").errors[0]
    (tmp_path / "mine.toml").write_text("quiet = true")
    settings = shown(septool("config", "show", "separate", "--json"))
    assert settings["quiet"] == (True, str(tmp_path / "mine.toml"))


def test_what_is_read_is_said(septool: Command, write_defaults: Any) -> None:
    write_defaults(here='[prepare.folder]\nsample-rate = 16000\n[eval]\nmetric = "pesq"')
    result = septool("config", "show")
    assert [line.split() for line in result.lines[1:]] == [
        ["prepare", "folder", "sample-rate", "16000", "septool.toml", "[prepare.folder]"],
        ["eval", "metric", "pesq", "septool.toml", "[eval]"],
    ]
    assert "septool: read: septool.toml" in result.errors
    assert septool("config", "show", "seperate").status == 2


def test_every_option_has_a_variable_of_its_own() -> None:
    """No two options share one, and none is a variable that means something else."""
    root: Any = typer.main.get_command(cli.app)
    names = [
        defaults.variable(verb, key)
        for verb, command in defaults.every_verb(root)
        for key in defaults.option_params(command)
    ]
    names += [defaults.variable([], key) for key in defaults.SHARED] + list(defaults.OTHERS)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("septool separate x.wav --model papez", {"papez", "papez-small-8k"}),
        ("septool extract x.wav --model galr-small-8", {"galr-small-8k"}),
        ("septool train conv-tasnet-wh", {"conv-tasnet-wham"}),
        ("septool eval x.jsonl --metric si-snri,pes", {"si-snri,pesq"}),
        ("septool separate x.wav --device cu", {"cuda"}),
        ("septool models show sepformer-whamr1", {"sepformer-whamr16k"}),
        ("septool doc", {"doctor"}),
    ],
)
def test_completion_offers_names(
    septool: Command, monkeypatch: pytest.MonkeyPatch, line: str, offered: set[str]
) -> None:
    monkeypatch.setenv("_SEPTOOL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    assert set(septool().lines) == offered


def test_completion_of_lists() -> None:
    assert set(completion.metrics("")) == set(METRICS)
    assert completion.models("galr,dprn") == ["galr,dprnn", "galr,dprnn-wham-clean-ks16", "galr,dprnn-wham-clean-ks2"]


@pytest.mark.parametrize(
    ("here", "arguments", "task", "own"),
    [
        (
            '[separate]\nsegment = 10\noverlap = 2\ndtype = "bf16"\nclip = "rescale"\nconsistency = false\nvoice = 1',
            ["separate", "a.wav", "--speakers", "auto"],
            "separate.separate",
            {"segment": 30.0, "dtype": "auto", "clip": "clamp", "consistency": True, "voice": None},
        ),
        (
            '[separate]\nengine = "onnx"\nstream = true\nchannel = "each"',
            ["separate", "a.wav", "--speakers", "auto"],
            "separate.separate",
            {"engine": "auto", "stream": False, "channel": None},
        ),
        (
            '[separate]\nspeaker-model = "x"\nactivity = "rttm"\nwho = "a.safetensors"',
            ["separate", "a.wav"],
            "separate.separate",
            {"speaker_model": SPEAKER_MODEL, "activity": None, "who": None},
        ),
        ("[extract]\nthreshold = 0.5", ["extract", "a.wav"], "extract.extract", {"threshold": None}),
        (
            "jobs = 4\nskip-existing = true",
            ["separate", "-"],
            "separate.separate",
            {"jobs": None, "skip_existing": False},
        ),
        (
            "jobs = 4\nskip-existing = true",
            ["extract", "a.wav", "--reference", "v.wav", "-o", "-"],
            "extract.extract",
            {"jobs": None, "skip_existing": False},
        ),
        (
            "jobs = 4\nskip-existing = true",
            ["activity", "a.wav", "-o", "-"],
            "activity.find_activity",
            {"jobs": None, "skip_existing": False},
        ),
        (
            "jobs = 4\nskip-existing = true",
            ["activity", "a.wav"],
            "activity.find_activity",
            {"jobs": 4, "skip_existing": True},
        ),
        (
            '[mix]\ncount = 5\nspeakers = "3"\nseconds = 60\nseed = 1\ncluster = "local:2"',
            ["mix", "a.wav", "b.wav", "-o", "m.wav"],
            "mix.mix_files",
            {},
        ),
        ('[mix]\nmode = "max"\nsnr = [3]', ["mix", "a.jsonl", "-o", "m"], "mix.mix_manifest", {}),
        (
            '[mix]\nmode = "max"\nsnr = [3]\nseconds = 5',
            ["mix", "a.jsonl", "-o", "m", "--conversation", "OV20"],
            "mix_conversations.sample_conversations",
            {"seconds": 5.0},
        ),
        ('[eval]\nmodel = "galr"\npasses = 2', ["eval", "a.wav", "b.wav"], "evaluate.evaluate", {"model": None}),
        (
            '[eval]\nmetric = "sdr"\nconsistency = true\nspeaker-model = "x"\npasses = 2',
            ["eval", "a.txt", "-m", "campplus"],
            "evaluate.evaluate",
            {"metric": None, "consistency": False, "speaker_model": None, "passes": None},
        ),
        (
            '[eval]\nmetric = "sdr"\nconsistency = true\nspeaker-model = "x"',
            ["eval", "a.jsonl", "-m", "galr", "--extract"],
            "evaluate.evaluate",
            {"metric": "sdr", "consistency": False, "speaker_model": "x"},
        ),
        ('[eval]\nmetric = "sdr"\nstrict = true', ["eval", "a.jsonl", "b.jsonl", "--compare"], "evaluate.compare", {}),
    ],
)
def test_what_is_for_another_way_of_using_a_verb_is_left_out(
    septool: Command,
    write_defaults: Any,
    monkeypatch: pytest.MonkeyPatch,
    here: str,
    arguments: list[str],
    task: str,
    own: dict[str, Any],
) -> None:
    arrived: dict[str, Any] = {}

    def take(*_: Any, **named: Any) -> None:
        arrived.update(named)
        raise SystemExit(77)

    write_defaults(here=here)
    Path("a.jsonl").touch()
    monkeypatch.setattr(f"septool.tasks.{task}", take)
    result = septool(*arguments)
    assert result.status == 77, result.errors
    assert arrived | own == arrived


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["separate", "a.wav", "--speakers", "auto", "--segment", "10"], "--segment"),
        (["separate", "a.wav", "--who", "b"], "--who"),
        # Refused with the values of the help, too: what is typed was meant to do something.
        (["mix", "a.wav", "b.wav", "-o", "m.wav", "--count", "10"], "--count"),
        (["mix", "a.wav", "b.wav", "-o", "m.wav", "--speakers", "2-4"], "--speakers"),
        (["mix", "a.wav", "b.wav", "-o", "m.wav", "--seconds", "120"], "--seconds"),
        (["mix", "a.wav", "b.wav", "-o", "m.wav", "--seed", "0"], "--seed"),
        (["mix", "a.jsonl", "-o", "m", "--snr", "0", "--mode", "min"], "--snr, --mode"),
        (["eval", "a.txt", "-m", "campplus", "--passes", "2"], "--passes"),
        (["eval", "a.txt", "-m", "campplus", "--speaker-model", "galr"], "--speaker-model"),
        (["eval", "a.jsonl", "-m", "galr", "--speaker-model", "campplus"], "--speaker-model"),
        (["eval", "a.jsonl", "-m", "galr", "--extract", "--consistency"], "--consistency"),
    ],
)
def test_what_is_typed_is_refused(
    septool: Command, write_defaults: Any, call: Path, arguments: list[str], option: str
) -> None:
    write_defaults(here="[separate]\nsegment = 5\noverlap = 1")
    Path("a.jsonl").touch()
    result = septool(*[call if word == "a.wav" else word for word in arguments])
    assert result.status == 2
    assert option in result.errors[-1]
