"""Sizes of a network from a toolkit's YAML; nothing is guessed."""

from collections.abc import Mapping
from pathlib import Path

from septool.config import JsonDict, JsonMapping
from septool.errors import CheckpointError
from septool.interop.tagged_yaml import Node, Tagged, parse_tagged_yaml, read_tagged_yaml, resolve


class Description:
    """A YAML file: what it says of the parts of a network."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        """Read a file, or a ``text`` out of it."""
        self.path = path
        self.document = read_tagged_yaml(path) if text is None else parse_tagged_yaml(text, path)

    def resolve(self, value: Node) -> Node:
        """Follow references."""
        return resolve(self.document, value)

    def top(self, key: str) -> Node:
        """Return a value at the top, or None."""
        return self.resolve(self.document.get(key))

    def part(self, value: Node, *kinds: str) -> tuple[str, JsonDict]:
        """Return which class a part is of, and what it is constructed with.

        Raises:
            CheckpointError: it is of none of ``kinds``.
        """
        node = self.resolve(value)
        if not isinstance(node, Tagged) or not node.tag.startswith("new:") or node.kind not in kinds:
            shown = node.tag if isinstance(node, Tagged) else repr(node)
            raise CheckpointError(f"{self.path} describes {shown}; septool has {' or '.join(kinds)} there")
        given = node.value if isinstance(node.value, Mapping) else {}
        return node.kind, {key: self.resolve(item) for key, item in given.items()}

    def sized(self, kind: str, given: JsonDict, defaults: JsonMapping, *needed: str) -> JsonDict:
        """Complete what a part is constructed with by the defaults of its class.

        Raises:
            CheckpointError: something unknown, something missing, or a size that is no number.
        """
        if not isinstance(given, Mapping):
            raise CheckpointError(f"{self.path}: {kind} is {given!r}; it should name its sizes")
        for key in given:
            if key not in defaults and key not in needed:
                raise CheckpointError(f"{self.path}: {kind} has {key}, which septool does not know")
            if isinstance(defaults.get(key), int | float) and not isinstance(given[key], int | float):
                raise CheckpointError(f"{self.path}: {key} of {kind} is {given[key]!r}; it should be a number")
        for key in needed:
            if key not in given:
                raise CheckpointError(f"{self.path}: {kind} has no {key}")
        return {**defaults, **given}

    def only(self, kind: str, values: JsonMapping, **allowed: object) -> None:
        """Refuse what our network cannot be.

        Raises:
            CheckpointError: a value that is not the allowed one.
        """
        for key, wanted in allowed.items():
            if values[key] != wanted:
                raise CheckpointError(
                    f"{self.path}: {key} of {kind} is {values[key]!r}; septool has such a network only with {wanted!r}"
                )

    def rate(self) -> dict[str, int]:
        """Return the sample rate, if it is said."""
        rate = self.top("sample_rate")
        return {} if rate is None else {"sample_rate": rate}
