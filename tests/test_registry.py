"""Names: imported on first use, and an unknown one in words."""

import importlib
import sys

import pytest

from septool.corpora import CORPORA
from septool.errors import UsageError
from septool.losses import LOSSES
from septool.metrics import FUNCTIONS, METRICS
from septool.models import MODELS
from septool.registry import Registry, suggest


def test_looking_up_imports_and_listing_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this_module_is_not", raising=False)
    names = Registry("thing", {"good": "json:dumps", "bad": "this_module_is_not:x"})
    assert list(names) == ["good", "bad"]
    assert len(names) == 2
    assert "bad" in names
    assert "other" not in names
    assert names["good"] is importlib.import_module("json").dumps
    assert names.module("good") is importlib.import_module("json")
    with pytest.raises(ModuleNotFoundError):
        names["bad"]


def test_an_unknown_name_is_told_with_the_nearest_and_all() -> None:
    names = Registry("thing", {"papez": "json:dumps", "galr": "json:loads"})
    said = "unknown thing 'papes'; did you mean 'papez'? (known: galr, papez)"
    for look in (names.__getitem__, names.module):
        with pytest.raises(UsageError) as error:
            look("papes")
        assert str(error.value) == said
    assert str(suggest("thing", "x", ["galr"])) == "unknown thing 'x' (known: galr)"
    assert str(suggest("thing", "x", [])) == "unknown thing 'x' (known: none)"
    many = [f"thing-{number}" for number in range(30)]
    assert str(suggest("thing", "thing-7x", many, listed_by="ls")) == (
        "unknown thing 'thing-7x'; did you mean 'thing-7'? (ls lists all)"
    )


@pytest.mark.parametrize("registry", [MODELS, LOSSES, FUNCTIONS, CORPORA], ids=lambda registry: registry.kind)
def test_every_listed_name_leads_somewhere(registry: Registry) -> None:
    for name in registry:
        assert registry[name].__doc__


def test_every_metric_has_a_function_and_says_its_own_name() -> None:
    assert all(metric.base in FUNCTIONS for metric in METRICS.values())
    assert all(metric.name == name for name, metric in METRICS.items())
