"""Dataclasses from TOML and back: an unknown key or a wrong type is an error with a suggestion."""

import dataclasses
import difflib
import functools
import itertools
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from septool.errors import ConfigError
from septool.files import read_text

JsonDict = dict[str, Any]  # an object of JSON or a table of TOML
JsonMapping = Mapping[str, Any]  # one that is only read

T = TypeVar("T")


def read_toml(path: Path) -> JsonDict:
    """Read a TOML file; a syntax error names the file and the place."""
    try:
        return tomllib.loads(read_text(path))
    except ValueError as error:  # not TOML, or not even text
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML: it is nested too deep") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def build(kind: type[T], values: JsonMapping, where: str = "") -> T:
    """Build dataclass ``kind`` from a mapping, nested dataclasses from nested mappings.

    A field that was renamed takes its old key too: ``field(metadata={"formerly": "old"})``.

    Raises:
        ConfigError: a key that ``kind`` does not have, one that it needs, a value of another type, or
            one that the dataclass itself refuses.
    """
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    for name, field in fields.items():
        old = field.metadata.get("formerly")
        if old in values:
            if name in values:
                raise ConfigError(f"{where}{old} is the old name of {where}{name}; give one of the two")
            values = {name if key == old else key: value for key, value in values.items()}
    hints = _hints(kind)
    for key in values:
        if key not in fields:
            raise ConfigError(describe_unknown_key(key, list(fields), where))
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}{name} is missing")
    ready = {key: _convert(value, hints[key], where + key) for key, value in values.items()}
    try:
        return kind(**ready)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where.rstrip('.') or kind.__name__}: {error}") from None


def describe_unknown_key(key: str, known: Sequence[str], where: str = "", place: str = "") -> str:
    """Return one line about a key that there is not, with what was probably meant.

    Args:
        key: without what stands before it.
        known: the keys that there are.
        where: what stands before all of them.
        place: that it is not in, if that has a name.
    """
    close = difflib.get_close_matches(key, known, n=1)
    meant = f"; did you mean {where + close[0]!r}?" if close else ""
    return f"unknown key {where + key!r}{f' in {place}' if place else ''}{meant} (known: {', '.join(known)})"


@functools.cache  # a manifest asks for the same ones a hundred thousand times
def _hints(kind: type) -> JsonDict:
    return typing.get_type_hints(kind)


def _convert(value: Any, hint: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        return _convert(value, next(o for o in options if o is not type(None)), where)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(typing.cast(type, hint), value, where + ".")
    if hint is Any:
        return value
    origin = typing.get_origin(hint) or hint
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise ConfigError(f"{where} is {value!r}; it can be {', '.join(map(str, typing.get_args(hint)))}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        kinds = typing.get_args(hint)
        if kinds[-1:] != (Ellipsis,) and len(kinds) != len(value):
            raise ConfigError(f"{where} is {list(value)!r}; it has {len(kinds)} values")
        each = itertools.repeat(kinds[0]) if kinds[-1:] == (Ellipsis,) else kinds
        return tuple(_convert(item, kind, where) for item, kind in zip(value, each, strict=False))
    if origin is dict and isinstance(value, Mapping):
        return {key: _convert(item, typing.get_args(hint)[1], f"{where}.{key}") for key, item in value.items()}
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(origin, type) and (not isinstance(value, origin) or (origin is int and isinstance(value, bool))):
        raise ConfigError(f"{where} is {value!r}; it has to be of type {origin.__name__}")
    return value


def override(values: JsonDict, settings: Sequence[str]) -> JsonDict:
    """Apply ``section.key=value`` settings, the value written as in TOML (a bare word is a string)."""
    result = _copy(values)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise ConfigError(f"{setting!r} is not a setting; write it as key=value")
        *parents, key = path.strip().split(".")
        place = result
        for parent in parents:
            if place.get(parent) is None:
                place[parent] = {}
            place = place[parent]
            if not isinstance(place, dict):
                raise ConfigError(f"{path} cannot be set: {parent!r} is a value, not a section")
        try:
            place[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            place[key] = text.strip()
    return result


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def shipped(name: str) -> Path:
    """Return a file of the repository that a wheel has too: inside the package there, one folder up in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.exists() else package.parent / name


def cache_folder() -> Path:
    """Where decoded corpora and fetched weights are kept: ``$SEPTOOL_CACHE`` or ``~/.cache/septool``."""
    root = os.environ.get("SEPTOOL_CACHE")
    return Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "septool"


def cache_limit() -> int:
    """How many bytes of decoded recordings are kept: ``$SEPTOOL_CACHE_GB`` or 100 GB."""
    text = os.environ.get("SEPTOOL_CACHE_GB", "100")
    try:
        return round(float(text) * 1e9)
    except (ValueError, OverflowError):  # inf has no whole number
        raise ConfigError(f"SEPTOOL_CACHE_GB is {text!r}; it is a number of gigabytes") from None
