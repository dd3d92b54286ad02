"""Weights that a verb needs: when they are asked for, and what the answer does."""

import io
import sys
from pathlib import Path

import pytest

from septool import catalogue
from septool.catalogue import Entry, PendingDownload
from septool.commands.downloading import ASK_FROM, obtain_weights
from septool.errors import CheckpointError, ConfigError
from tests.conftest import Command

LARGE = 120_000_000  # bytes


class Terminal(io.StringIO):
    """A standard stream that a person sits at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names whose weights were fetched."""
    names: list[str] = []
    monkeypatch.setattr(catalogue, "fetch_weights", lambda name, _: names.append(name))
    return names


def ask(patch: pytest.MonkeyPatch, size: int, answer: str = "", *, terminal: bool = True, yes: bool = False) -> str:
    """Obtain weights of so many bytes that are not here; returns what was said on standard error."""
    entry = Entry(model="papez", sample_rate=8000, sources=2, licence="", trained_on="", intended_use="")
    pending = PendingDownload("tiny-8k", entry, size, Path("cache"))
    patch.setattr(catalogue, "find_pending", lambda _: pending)
    kind = Terminal if terminal else io.StringIO
    said = kind()
    patch.setattr(sys, "stdin", kind(answer))
    patch.setattr(sys, "stderr", said)
    obtain_weights("tiny", yes=yes, quiet=True)
    return said.getvalue()


@pytest.mark.parametrize("answer", ["y\n", "\n"])
def test_a_large_download_is_asked_for(fetched: list[str], monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    said = ask(monkeypatch, LARGE, answer)
    assert said.startswith("septool: fetch the weights of tiny-8k (120.0 MB) into cache? [Y/n]")
    assert fetched == ["tiny"]


def test_who_says_no_gets_none(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"the weights of tiny-8k \(120\.0 MB\) were not fetched"):
        ask(monkeypatch, LARGE, "n\n")
    assert fetched == []


def test_one_of_unknown_size_is_asked_for(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "(of unknown size) into cache?" in ask(monkeypatch, 0, "y\n")
    assert fetched == ["tiny"]


@pytest.mark.parametrize(("size", "yes"), [(ASK_FROM, False), (LARGE, True)])
def test_nothing_is_asked(fetched: list[str], monkeypatch: pytest.MonkeyPatch, size: int, yes: bool) -> None:
    assert ask(monkeypatch, size, "n\n", yes=yes) == ""
    assert fetched == ["tiny"]


@pytest.mark.parametrize("word", ["1", "true", "Yes", "on"])
def test_a_switch_that_is_on_fetches(fetched: list[str], monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("SEPTOOL_AUTO_FETCH", word)
    assert ask(monkeypatch, LARGE, terminal=False) == ""
    assert fetched == ["tiny"]


@pytest.mark.parametrize("word", ["", "0", "false", "No", "off"])
def test_a_switch_that_is_off_does_not(fetched: list[str], monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("SEPTOOL_AUTO_FETCH", word)
    with pytest.raises(CheckpointError, match="are not here; get them with: septool models fetch tiny"):
        ask(monkeypatch, LARGE, terminal=False)
    assert fetched == []


def test_a_switch_that_is_neither_is_refused(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTOOL_AUTO_FETCH", "perhaps")
    with pytest.raises(ConfigError, match="SEPTOOL_AUTO_FETCH is 'perhaps'; a switch is true or false"):
        ask(monkeypatch, LARGE, terminal=False)
    assert fetched == []


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["separate", "a.wav", "-m", "one"], ["one"]),
        (["separate", "a.wav", "-m", "one", "--speakers", "auto", "--speaker-model", "two"], ["one", "two"]),
        (["extract", "a.wav", "--reference", "v.wav", "-m", "one", "--speaker-model", "two"], ["one", "two"]),
        (["extract", "a.wav", "--reference", "v.wav", "-m", "one"], ["one"]),
        (["activity", "a.wav", "-m", "one", "--speaker-model", "two"], ["one", "two"]),
    ],
)
def test_every_checkpoint_that_is_named_is_fetched(
    septool: Command, fetched: list[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], names: list[str]
) -> None:
    entry = Entry(model="papez", sample_rate=8000, sources=2, licence="", trained_on="", intended_use="")
    monkeypatch.setattr(catalogue, "find_pending", lambda name: PendingDownload(name, entry, LARGE, Path("cache")))
    assert septool(*arguments, "--yes").status != 0  # there is no such recording
    assert fetched == names


@pytest.mark.parametrize(
    "arguments",
    [
        ["separate", "a.wav", "--device", "gpux"],
        ["separate", "a.wav", "--overlap", "99"],
        ["separate", "a.wav", "--speakers", "many"],
        ["separate", "a.wav", "--speakers", "2", "--activity", "txt"],
        ["extract", "a.wav"],
        ["extract", "a.wav", "--reference", "v.wav", "--channel", "0"],
        ["activity", "a.wav", "--speakers", "0"],
        ["activity", "empty"],
    ],
)
def test_nothing_is_fetched_for_a_request_that_is_refused(
    septool: Command, fetched: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    entry = Entry(model="papez", sample_rate=8000, sources=2, licence="", trained_on="", intended_use="")
    monkeypatch.setattr(catalogue, "find_pending", lambda name: PendingDownload(name, entry, LARGE, Path("cache")))
    assert septool(*arguments, "-m", "one", "--yes").status == 2
    assert fetched == []
