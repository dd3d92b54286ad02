"""Settings: every type there is, every mistake in words."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pytest

from septool import config
from septool.config import build, cache_folder, field_values, override, read_toml, shipped
from septool.downloads import hub_cache
from septool.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 1
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size is below 0")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    named: tuple[str, int] = ("", 0)
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    flag: bool = False
    anything: dict[str, Any] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


def test_every_type() -> None:
    values = {
        "name": "x",
        "inner": {"size": 3, "rate": 2},
        "many": [{"size": 1}, {}],
        "pair": [1, 2.5],
        "named": ["a", 2],
        "kind": "b",
        "limit": 4,
        "flag": True,
        "anything": {"a": [1]},
        "words": {"a": "b"},
    }
    made = build(Outer, values)
    assert made == Outer(
        name="x",
        inner=Inner(size=3, rate=2.0),
        many=(Inner(), Inner()),
        pair=(1.0, 2.5),
        named=("a", 2),
        kind="b",
        limit=4,
        flag=True,
        anything={"a": [1]},
        words={"a": "b"},
    )
    assert isinstance(made.inner.rate, float)
    assert build(Outer, asdict(made)) == made
    assert build(Outer, {"name": "x", "limit": None}) == Outer(name="x")


def test_fields_that_were_not_given_are_told_too() -> None:
    made = build(Outer, {"name": "x", "inner": {"size": 2}})
    assert field_values(made) == field_values(Outer(name="x", inner=Inner(size=2)))
    assert list(field_values(made)) == [each.name for each in fields(Outer)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "name is missing"),
        (
            {"name": "x", "inner": {"siez": 1}},
            "unknown key 'inner.siez'; did you mean 'inner.size'? (known: size, rate)",
        ),
        (
            {"name": "x", "zzz": 1},
            "unknown key 'zzz' (known: name, inner, many, pair, named, kind, limit, flag, anything, words)",
        ),
        ({"name": 1}, "name is 1; it has to be of type str"),
        ({"name": "x", "inner": {"size": 1.5}}, "inner.size is 1.5; it has to be of type int"),
        ({"name": "x", "inner": {"size": True}}, "inner.size is True; it has to be of type int"),
        ({"name": "x", "inner": {"rate": True}}, "inner.rate is True; it has to be of type float"),
        ({"name": "x", "inner": 3}, "inner is 3; it has to be of type Inner"),
        ({"name": "x", "inner": {"size": -1}}, "inner: size is below 0"),
        ({"name": "x", "many": [{"size": -1}]}, "many[0]: size is below 0"),
        ({"name": "x", "pair": [1.0]}, "pair is [1.0]; it has 2 values"),
        ({"name": "x", "named": ["a", "b"]}, "named[1] is 'b'; it has to be of type int"),
        ({"name": "x", "kind": "c"}, "kind is 'c'; it can be a, b"),
        ({"name": "x", "limit": "all"}, "limit is 'all'; it has to be of type int"),
        ({"name": "x", "flag": 1}, "flag is 1; it has to be of type bool"),
        ({"name": "x", "words": {"a": 3}}, "words.a is 3; it has to be of type str"),
        ({"name": "x", "words": 3}, "words is 3; it has to be of type dict"),
    ],
)
def test_every_mistake_in_words(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(Outer, values)
    assert str(error.value) == said


@dataclass(frozen=True, kw_only=True)
class Renamed:
    random_eq_db: float = field(default=0.0, metadata={"formerly": "colour_db"})


def test_a_renamed_field_takes_its_old_key() -> None:
    assert build(Renamed, {"colour_db": 3}) == build(Renamed, {"random_eq_db": 3}) == Renamed(random_eq_db=3.0)
    with pytest.raises(ConfigError, match=r"^colour_db is the old name of random_eq_db; give one of the two$"):
        build(Renamed, {"colour_db": 3, "random_eq_db": 3})
    with pytest.raises(ConfigError, match=r"^random_eq_db is 'x'; it has to be of type float$"):
        build(Renamed, {"colour_db": "x"})


def test_settings_change_a_copy() -> None:
    values = {"inner": {"size": 1}, "name": "x"}
    changed = override(values, ["inner.size=2", "name = word", "pair=[1, 2]", "new.deep.one=true", "limit="])
    assert values == {"inner": {"size": 1}, "name": "x"}
    assert changed == {
        "inner": {"size": 2},
        "name": "word",
        "pair": [1, 2],
        "new": {"deep": {"one": True}},
        "limit": "",
    }


def test_a_number_of_more_digits_than_python_reads_is_a_word() -> None:
    digits = "9" * 5000
    assert override({}, [f"size={digits}"]) == {"size": digits}


def test_a_section_that_is_not_there_yet_is_made() -> None:
    assert override({"rooms": None}, ["rooms.size=2"]) == {"rooms": {"size": 2}}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("size", "'size' is not a setting; write it as key=value"),
        ("=3", "'=3' is not a setting; write it as key=value"),
        ("name.size=3", "name.size cannot be set: 'name' is a value, not a section"),
    ],
)
def test_settings_that_are_none(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        override({"name": "x"}, [setting])
    assert str(error.value) == said


def test_files_that_are_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    with pytest.raises(ConfigError, match=r"x\.toml cannot be read: No such file or directory"):
        read_toml(path)
    for content in (b"a = ", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"x\.toml is not valid TOML"):
            read_toml(path)
    path.write_text("a = 1\n[b]\nc = 'd'\n")
    assert read_toml(path) == {"a": 1, "b": {"c": "d"}}


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("SEPTOOL_CACHE", "/mine")
    assert cache_folder() == Path("/mine")
    monkeypatch.delenv("SEPTOOL_CACHE")
    assert cache_folder() == Path("/xdg/septool")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ann")
    assert cache_folder() == Path("/home/ann/.cache/septool")


def test_files_of_the_repository_are_inside_the_package_of_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "__file__", str(tmp_path / "septool" / "config.py"))
    assert shipped("a.toml") == tmp_path / "a.toml"
    (tmp_path / "septool").mkdir()
    (tmp_path / "septool" / "a.toml").touch()
    assert shipped("a.toml") == tmp_path / "septool" / "a.toml"


def test_a_wheel_holds_what_the_package_looks_for() -> None:
    included = read_toml(Path(__file__).parents[1] / "pyproject.toml")["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name in ("checkpoints.toml", "examples/two-talkers.flac"):
        assert included["force-include"][name] == f"septool/{name}"
        assert shipped(name).exists()


def test_a_file_that_is_nested_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError, match=r"x\.toml is not valid TOML: it is nested too deep"):
        read_toml(path)


@pytest.mark.parametrize("place", ["~/kept", "{home}/kept"])
def test_caches_below_the_home_folder(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    for name in ("SEPTOOL_CACHE", "HF_HOME"):
        monkeypatch.setenv(name, place.format(home=tmp_path))
    assert (cache_folder(), hub_cache()) == (tmp_path / "kept", tmp_path / "kept/hub")
