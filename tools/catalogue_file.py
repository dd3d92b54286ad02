"""Write ``checkpoints.toml`` again with its order and its comments: what did not change stays as somebody wrote it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from septool import catalogue

SILENT = (None, {}, "", (), [], 0, False, catalogue.OURS)  # values that say no more than a field that is not there


def write_catalogue(known: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Bring the entries of a catalogue up to date: new ones follow the old, without fields that say nothing."""
    document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
    for name, values in known.items():
        entry = document.setdefault(name, tomlkit.table())
        for key, value in values.items():
            if value in SILENT and key != "sources":
                entry.pop(key, None)
            elif key not in entry or entry[key] != _without_silence(value):
                entry[key] = _item(value)
    path.write_text(tomlkit.dumps(document), encoding="utf-8")


def _without_silence(value: Any) -> Any:
    """Return a value as TOML gives it back: files are a list of what each says."""
    if isinstance(value, list | tuple):
        return [{key: part for key, part in item.items() if part} for item in value]
    return value


def _item(value: Any) -> Any:
    """Return a mapping as a table in one line, and a list of them with a line each."""
    if isinstance(value, list | tuple):
        lines = tomlkit.array().multiline(True)
        lines.extend(_item(item) for item in _without_silence(value))
        return lines
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update(value)
        return tomlkit.value(f"{{ {table.as_string()[1:-1]} }}")  # spaced, as TOML's own examples are
    return value
