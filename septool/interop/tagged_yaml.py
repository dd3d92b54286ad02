"""Parsing HyperPyYAML (``hyperparams.yaml``) without constructing objects: tags stay text."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from septool.config import JsonDict, JsonMapping
from septool.errors import CheckpointError

LIMIT = 300_000  # bytes; published ones have a few thousand
REFERENCE = re.compile(r"<(\w+)((?:\[\w+\])*)>")
Node = Any  # a mapping, a list, a text or a number of YAML, or one that is tagged
DEPTH = 20  # levels of nested references and lists


@dataclass(frozen=True)
class Tagged:
    """A node with a tag of its own, such as ``!new:speechbrain.nnet.linear.Linear``."""

    tag: str  # without the exclamation mark
    value: Node  # what stands behind it

    @property
    def kind(self) -> str:
        """The last part of what is constructed: ``Linear``."""
        return self.tag.rpartition(".")[2].rpartition(":")[2]


class _Loader(yaml.SafeLoader):
    """Plain values only."""


def _keep(loader: _Loader, suffix: str, node: yaml.Node) -> Tagged:
    if isinstance(node, yaml.MappingNode):
        value: Node = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # pyright: ignore[reportArgumentType] - the third kind of node
    return Tagged(suffix, value)


_Loader.add_multi_constructor("!", _keep)


def read_tagged_yaml(path: Path) -> JsonDict:
    """Read a YAML file whose tags stay :class:`Tagged`.

    Raises:
        CheckpointError: the file cannot be read, is no YAML, or names nothing.
    """
    try:
        if path.stat().st_size > LIMIT:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes; a description of a network has a few kB")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} is not YAML: it is no text") from None
    return parse_tagged_yaml(text, path)


def parse_tagged_yaml(text: str, path: Path) -> JsonDict:
    """Read the text of a YAML file whose tags stay :class:`Tagged`; ``path`` is for messages.

    Raises:
        CheckpointError: it is too long, no YAML, or names nothing.
    """
    if len(text) > LIMIT:
        raise CheckpointError(
            f"{path}: its description has {len(text)} characters; that of a network has a few thousand"
        )
    try:
        opened = itertools.accumulate((mark in "[{") - (mark in "]}") for mark in re.findall(r"[\[\]{}]", text))
        if max(opened, default=0) > DEPTH:  # the parser takes a time that is quadratic in it
            raise ValueError("nested too deep")
        document = yaml.load(text, _Loader)
    # The last four are of numbers, dates and truth values that are none.
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, LookupError, AttributeError) as error:
        first = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{path} is not YAML: {first}") from None
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} names nothing: it is a {type(document).__name__}")
    return document


def resolve(document: JsonMapping, value: Node) -> Node:
    """Follow ``!ref <name>`` and ``!ref <name[key]>`` to what is meant.

    Raises:
        CheckpointError: a reference to nothing, in a circle, or with arithmetic.
    """
    for _ in range(DEPTH):
        if not isinstance(value, Tagged) or value.tag != "ref":
            return value
        match = REFERENCE.fullmatch(str(value.value).strip())
        if match is None:
            raise CheckpointError(f"!ref {value.value} is more than a reference; septool does not compute it")
        name, keys = match.group(1), re.findall(r"\w+", match.group(2))
        node: Node = document
        for key in (name, *keys):
            node = node.value if isinstance(node, Tagged) else node
            if not isinstance(node, Mapping) or key not in node:
                raise CheckpointError(f"!ref {value.value} refers to nothing")
            node = node[key]
        value = node
    raise CheckpointError(f"!ref {value.value} refers to itself")
