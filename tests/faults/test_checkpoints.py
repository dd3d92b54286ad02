"""Checkpoints whose header lies: refused in one line, before anything is built."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from septool import checkpoints
from septool.errors import CheckpointError
from septool.headers import KEY, read_header
from tests.conftest import RATE, Command
from tests.models.tiny import TINY

HEADER: dict[str, Any] = {"model": "galr", "config": TINY["galr"], "sample_rate": RATE, "sources": 2}
BOUND = 2_000_000  # kB of memory that nothing here comes near, torch itself included


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from septool.models.build import build_model

    path = tmp_path_factory.mktemp("galr") / "galr.safetensors"
    checkpoints.save(path, build_model("galr", TINY["galr"]).state_dict(), checkpoints.Header(**HEADER))
    return path


def with_header(honest: Path, folder: Path, text: str) -> Path:
    path = folder / "attack.safetensors"
    save_file(load_file(honest), path, metadata={KEY: text})
    return path


def test_the_honest_one_is_loaded(honest: Path) -> None:
    assert checkpoints.load(honest)[1].model == "galr"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks": 10**6}, "config.blocks is 1000000; no network here has a size over 65536"),
        ({"blocks": 60_000}, "does not fit the model in its header: the file has "),
        ({"filters": 10**6}, "config.filters is 1000000"),
        ({"filters": 10**9}, "config.filters is 1000000000"),
        ({"filters": 65_536}, "does not fit the model in its header: the file has "),
        ({"hidden": 10**9}, "config.hidden is "),
        ({"hidden": 65_536}, "the model is larger"),
        ({"window": 10**9}, "config.window is "),
        ({"segment": 10**9}, "config.segment is "),
        ({"summary": 10**9}, "config.summary is "),
        ({"filters": 2**70}, "config.filters is "),
        ({"blocks": -1}, "config.blocks is -1; it is at least 1"),
        ({"heads": 3}, "do not divide into 3 heads"),
        ({"filters": 1.5}, "config.filters is 1.5; it has to be of type int"),
        ({"sources": 3}, "says 2 sources, its model 3"),
    ],
)
def test_a_size_that_the_tensors_deny(honest: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    config = {**HEADER["config"], **changes}
    path = with_header(honest, tmp_path, json.dumps(HEADER | {"config": config}))
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < BOUND


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps(HEADER | {"config": {"dropout": float("nan")}}), "damaged header: NaN is no number"),
        (json.dumps(HEADER | {"config": {"dropout": float("inf")}}), "damaged header: Infinity is no number"),
        (json.dumps(HEADER | {"config": {"dropout": 1}}).replace("1}", "1e999}"), "config.dropout is inf"),
        (json.dumps(HEADER | {"sample_rate": 2**63}), "sample_rate is 9223372036854775808; it is 1000 to 1000000 Hz"),
        (json.dumps(HEADER | {"sample_rate": 10**9}), "sample_rate is 1000000000; it is"),
        (json.dumps(HEADER | {"sample_rate": 1}), "sample_rate is 1; it is"),
        ('{"model": ' + 100_000 * "[" + 100_000 * "]" + "}", "damaged header: it is nested too deep"),
        ('{"config": ' + 100_000 * '{"a":' + "1" + 100_000 * "}" + "}", "damaged header: it is nested too deep"),
        ("[" * 100_000, "damaged header: it is nested too deep"),
    ],
)
def test_a_header_of_nonsense(honest: Path, tmp_path: Path, septool: Command, text: str, said: str) -> None:
    path = with_header(honest, tmp_path, text)
    with pytest.raises(CheckpointError, match=r"checkpoint .*attack"):
        read_header(path)
    result = septool("models", "show", path)
    assert result.status == 1
    assert said in result.errors[0]
    assert len(result.errors) == 1
