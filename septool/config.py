"""Dataclasses from TOML and back: an unknown key or a wrong type is an error with a suggestion."""

import dataclasses
import difflib
import functools
import operator
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from septool.errors import ConfigError

JsonDict = dict[str, Any]  # an object of JSON or a table of TOML
JsonMapping = Mapping[str, Any]  # one that is only read

T = TypeVar("T")


def read_toml(path: Path) -> JsonDict:
    """Read a TOML file; a syntax error names the file and the place."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not TOML, or not even text
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def build(kind: type[T], values: JsonMapping, where: str = "") -> T:
    """Build dataclass ``kind`` from a mapping, nested dataclasses from nested mappings.

    A field that was renamed takes its old key too: ``field(metadata={"formerly": "old"})``.

    Raises:
        ConfigError: a key that ``kind`` does not have, one that it needs, a value of another type, or
            one that the dataclass itself refuses.
    """
    import msgspec

    if not isinstance(values, Mapping):
        raise ConfigError(f"{where.rstrip('.') or kind.__name__} is {values!r}; it has to be a table of settings")
    values = _current_keys(kind, values, where)
    try:
        return msgspec.convert(values, kind, from_attributes=True)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), kind, values, where)) from None


class _Layout(NamedTuple):
    """What of a dataclass its keys are checked by."""

    names: dict[str, None]  # in order
    renamed: dict[str, str]  # old names, and those of today
    nested: dict[str, type]  # fields that hold a dataclass, or several


@functools.cache  # a manifest asks for the same ones a hundred thousand times
def _layout(kind: type) -> _Layout:
    fields, hints = dataclasses.fields(typing.cast(Any, kind)), typing.get_type_hints(kind)
    within = {field.name: next(filter(dataclasses.is_dataclass, _parts(hints[field.name])), None) for field in fields}
    return _Layout(
        {field.name: None for field in fields},
        {field.metadata["formerly"]: field.name for field in fields if "formerly" in field.metadata},
        {name: typing.cast(type, inner) for name, inner in within.items() if inner},
    )


def _parts(hint: Any) -> Iterator[Any]:
    """Yield a type and what it is made of: the options of a union, the items of a tuple."""
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


def _current_keys(kind: type, values: JsonMapping, where: str) -> JsonMapping:
    """Return nested values with the keys of today; those that no field has are refused, which msgspec does not do."""
    names, renamed, nested = _layout(kind)
    if not values.keys() <= names.keys():
        for old in values.keys() & renamed.keys():
            if renamed[old] in values:
                raise ConfigError(f"{where}{old} is the old name of {where}{renamed[old]}; give one of the two")
        values = {renamed.get(key, key): value for key, value in values.items()}
        for key in values:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                meant = f"; did you mean {where + close[0]!r}?" if close else ""
                raise ConfigError(f"unknown key {where + key!r}{meant} (known: {', '.join(names)})")
    for name, inner in nested.items():
        value = values.get(name)
        if isinstance(value, Mapping):
            current = _current_keys(inner, value, f"{where}{name}.")
        elif isinstance(value, list | tuple):
            current = [
                _current_keys(inner, item, f"{where}{name}.") if isinstance(item, Mapping) else item for item in value
            ]
            if all(map(operator.is_, current, value)):
                continue
        else:
            continue
        if current is not value:
            values = {**values, name: current}
    return values


def _explain(text: str, kind: type, values: JsonMapping, where: str) -> str:
    """Put msgspec's words into ours: the key, its value, and what it can be."""
    said, _, path = text.partition(" - at `$")
    key, value, hint = where.rstrip("."), typing.cast(Any, values), typing.cast(Any, kind)
    for name, index in re.findall(r"\.([^.\[`]+)|\[(\d+|\.\.\.)\]", path):
        hint = _options(hint)[0]
        if name:
            value, hint = value[name], typing.get_type_hints(hint)[name]
        elif index == "...":  # of a dict, which one it does not say
            hint = typing.get_args(hint)[1]
            name, value = next(item for item in value.items() if not isinstance(item[1], hint))
        else:
            items = typing.get_args(hint)
            value, hint = value[int(index)], items[0 if items[-1:] == (Ellipsis,) else int(index)]
        key = f"{key}.{name}" if key and name else key or name
    if missing := re.match(r"Object missing required field `(.+)`", said):
        return f"{key}.{missing[1]} is missing" if key else f"{missing[1]} is missing"
    hint = _options(hint)[0]
    if typing.get_origin(hint) is typing.Literal:
        return f"{key} is {value!r}; it can be {', '.join(map(str, typing.get_args(hint)))}"
    if size := re.match(r"Expected `array` of length (\d+)", said):
        return f"{key} is {list(value)!r}; it has {size[1]} values"
    if said.startswith("Expected `"):
        return f"{key} is {value!r}; it has to be of type {(typing.get_origin(hint) or hint).__name__}"
    return f"{key or kind.__name__}: {said}"


def _options(hint: Any) -> list[Any]:
    """Return what a union can be besides None; of another type, that."""
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return [part for part in typing.get_args(hint) if part is not type(None)] if is_union else [hint]


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
