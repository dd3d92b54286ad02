"""Dataclasses from TOML and back; an unknown key or a wrong type is an error with a suggestion."""

import dataclasses
import difflib
import functools
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from septool.errors import ConfigError
from septool.files import read_text

JsonDict = dict[str, Any]  # an object of JSON or a table of TOML
JsonMapping = Mapping[str, Any]  # one that is only read
SWITCHES = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

T = TypeVar("T")


def finite_or_null(value: object) -> object:
    """Return plain values with None for what JSON has no numbers for: NaN and infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    return value


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


def build(kind: type[T], values: JsonMapping, prefix: str = "") -> T:
    """Build dataclass ``kind`` from a mapping, nested dataclasses from nested mappings.

    A field that was renamed takes its old key too: ``field(metadata={"formerly": "old"})``. Defaults stay with the
    class, so that :func:`field_values` tells all fields and ``vars`` only those that were given.

    Raises:
        ConfigError: a key that ``kind`` does not have, one that it needs, a value of another type, or
            one that the dataclass itself refuses.
    """
    values = _with_known_keys(kind, values, prefix)
    try:
        return msgspec.convert(values, kind, dec_hook=_as_it_is)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, kind, values, prefix)) from None


def field_values(instance: Any) -> JsonDict:
    """Return the fields of a dataclass as they are, nested ones included."""
    return {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}


def _as_it_is(kind: type, value: object) -> object:
    """Take what JSON and TOML have no form of, such as a path that the program itself puts in."""
    if not isinstance(value, kind):
        raise ValueError(f"it has to be of type {kind.__name__}")
    return value


class _Keys(NamedTuple):
    """What the mapping for a dataclass can hold."""

    known: frozenset[str]
    needed: tuple[str, ...]
    formerly: dict[str, str]  # old names
    nested: dict[str, type]  # fields that hold a dataclass, or several


@functools.cache  # a manifest asks for the same ones a hundred thousand times
def _keys_of(kind: type) -> _Keys:
    fields = dataclasses.fields(kind)
    needed = (field for field in fields if field.default is field.default_factory is dataclasses.MISSING)
    inner: dict[str, type] = {}
    for name, hint in _hints(kind).items():
        for part in _parts(hint):
            if isinstance(part, type) and dataclasses.is_dataclass(part):
                inner.setdefault(name, part)
    return _Keys(
        frozenset(field.name for field in fields),
        tuple(field.name for field in needed),
        {field.metadata["formerly"]: field.name for field in fields if "formerly" in field.metadata},
        inner,
    )


@functools.cache
def _hints(kind: type) -> JsonDict:
    return typing.get_type_hints(kind)


def _parts(hint: Any) -> list[Any]:
    """Return a type and those that it is made of."""
    return [hint, *(part for argument in typing.get_args(hint) for part in _parts(argument))]


def _with_known_keys(kind: type, values: JsonMapping, prefix: str) -> JsonMapping:
    """Return a dataclass's mapping with the keys of today.

    Raises:
        ConfigError: a key that there is not, one too few, or no mapping.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{prefix.rstrip('.') or kind.__name__} is {values!r:.40}; it has to be of type {kind.__name__}"
        )
    keys = _keys_of(kind)
    for old in keys.formerly.keys() & values.keys():
        new = keys.formerly[old]
        if new in values:
            raise ConfigError(f"{prefix}{old} is the old name of {prefix}{new}; give one of the two")
        values = {new if key == old else key: value for key, value in values.items()}
    if not values.keys() <= keys.known:
        unknown = next(key for key in values if key not in keys.known)
        raise ConfigError(describe_unknown_key(unknown, [field.name for field in dataclasses.fields(kind)], prefix))
    for name in keys.needed:
        if name not in values:
            raise ConfigError(f"{prefix}{name} is missing")
    for name, inner in keys.nested.items():
        if value := values.get(name):
            known = _nested_with_known_keys(inner, value, prefix + name)
            if known is not value:
                values = {**values, name: known}
    return values


def _nested_with_known_keys(kind: type, value: Any, prefix: str) -> Any:
    """Do the same for what a field holds; what is neither a mapping nor several is for the conversion to refuse."""
    if isinstance(value, Mapping):
        return _with_known_keys(kind, value, prefix + ".")
    if not isinstance(value, list | tuple):
        return value
    known = [_nested_with_known_keys(kind, item, f"{prefix}[{index}]") for index, item in enumerate(value)]
    return value if all(new is old for new, old in zip(known, value, strict=True)) else known


STEP = re.compile(r"\.(?P<field>\w+)|\[(?P<index>\d+)\]|\[\.\.\.\]")  # a step of a path such as $.sources[0].start


def _explain(error: msgspec.ValidationError, kind: type, values: JsonMapping, prefix: str) -> str:
    """Return which value is wrong and what would be right, where msgspec names its path alone."""
    hint: Any = kind
    value: Any = values
    name = prefix.rstrip(".")
    path = str(error).rpartition(" - at `$")[2].rstrip("`") if " - at `$" in str(error) else ""
    for step in STEP.finditer(path):
        hint = _without_none(hint)
        if field := step["field"]:
            hint, value, name = _hints(hint)[field], value[field], f"{name}.{field}" if name else field
            continue
        kinds = typing.get_args(hint)
        if step["index"]:
            index = int(step["index"])
            hint, value, name = kinds[0 if kinds[-1] is ... else index], value[index], f"{name}[{index}]"
        else:  # a mapping, whose key msgspec does not name
            key = next(key for key, item in value.items() if not _fits(item, kinds[-1]))
            hint, value, name = kinds[-1], value[key], f"{name}.{key}"
    hint = _without_none(hint)
    kinds, origin = typing.get_args(hint), typing.get_origin(hint) or hint
    if isinstance(error.__cause__, ValueError | TypeError):
        return f"{name or kind.__name__}: {error.__cause__}"
    if origin is typing.Literal:
        return f"{name} is {value!r}; it can be {', '.join(map(str, kinds))}"
    if origin is tuple and isinstance(value, list | tuple):
        return f"{name} is {list(value)!r}; it has {len(kinds)} values"
    if origin is tuple:
        return f"{name} is {value!r}; it has to be a list, such as [{value!r}]"
    return f"{name} is {value!r}; it has to be of type {getattr(origin, '__name__', origin)}"


def _without_none(hint: Any) -> Any:
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return options[0] if is_union else hint


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, dec_hook=_as_it_is)
    except msgspec.ValidationError:
        return False
    return True


def describe_unknown_key(key: str, known: Sequence[str], prefix: str = "", table: str = "") -> str:
    """Return one line about a key that there is not, with what was probably meant.

    Args:
        key: without what stands before it.
        known: the keys that there are.
        prefix: what stands before all of them.
        table: the one that lacks it, if that has a name.
    """
    close = difflib.get_close_matches(key, known, n=1)
    meant = f"; did you mean {prefix + close[0]!r}?" if close else ""
    return f"unknown key {prefix + key!r}{f' in {table}' if table else ''}{meant} (known: {', '.join(known)})"


def override(values: JsonDict, settings: Sequence[str]) -> JsonDict:
    """Apply ``section.key=value`` settings, the value written as in TOML (a bare word is a string)."""
    result = _copy(values)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise ConfigError(f"{setting!r} is not a setting; write it as key=value")
        *parents, key = path.strip().split(".")
        table = result
        for parent in parents:
            if table.get(parent) is None:
                table[parent] = {}
            table = table[parent]
            if not isinstance(table, dict):
                raise ConfigError(f"{path} cannot be set: {parent!r} is a value, not a section")
        try:
            table[key] = tomllib.loads(f"value = {text}")["value"]
        except ValueError:  # not TOML, or a number of more digits than int() takes
            table[key] = text.strip()
    return result


def flatten(values: JsonMapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of nested tables with their keys as one, ``section.key``; those that are None are left out."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, value


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def read_switch(name: str) -> bool:
    """Return whether a variable of the environment is a switch that is on; one that is empty counts as unset.

    Raises:
        ConfigError: it is neither on nor off.
    """
    text = os.environ.get(name, "")
    switch = SWITCHES.get(text.lower()) if text else False
    if switch is None:
        raise ConfigError(f"{name} is {text!r}; a switch is true or false")
    return switch


def shipped(name: str) -> Path:
    """Return a file of the repository that a wheel has too: inside the package there, one folder up in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.exists() else package.parent / name


def cache_folder() -> Path:
    """Where decoded corpora and fetched weights are kept: ``$SEPTOOL_CACHE`` or ``~/.cache/septool``."""
    root = os.environ.get("SEPTOOL_CACHE")
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "septool"
    return Path(root).expanduser() if root else default  # ~ is left to us where no shell sets it


def cache_limit() -> int:
    """How many bytes of decoded recordings are kept: ``$SEPTOOL_CACHE_GB`` or 100 GB."""
    text = os.environ.get("SEPTOOL_CACHE_GB", "100")
    try:
        return round(float(text) * 1e9)
    except (ValueError, OverflowError):  # inf has no whole number
        raise ConfigError(f"SEPTOOL_CACHE_GB is {text!r}; it is a number of gigabytes") from None
