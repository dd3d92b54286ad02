"""Messages for wrong arguments: unknown options, and values that pydantic refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from septool.commands import help
from septool.printable import printable

if TYPE_CHECKING:
    import typer


NEAR = 0.15  # of the similarity of two options, between 0 and 1


def describe_usage_error(error: typer.TyperException, program: help.Verb, arguments: Sequence[str]) -> str:
    """Return what is wrong with the arguments, and where to read what would be right; nothing if help was shown."""
    said = " ".join(error.format_message().removesuffix(".").replace("Value error, ", "").split())
    if not said:
        return ""
    said = re.sub(r" \(Possible options: (.*)\)$", r"; did you mean \1?", said).replace(". Did you", "; did you")
    said = re.sub(r"(?<=^No such option: )(\S+)(; did you mean )(.*)(?=\?$)", _nearest_first, said)
    faults = getattr(error.__cause__, "errors", list)()  # of pydantic, which values are checked with
    if faults and repr(faults[0]["input"]) not in said:
        said += f", not {faults[0]['input']!r}"
    return f"septool: {printable(said[0].lower() + said[1:])}; see {verb_path(program, arguments)} --help\n"


def _nearest_first(found: re.Match[str]) -> str:
    """Return an option and what it may have been: those about as near as the nearest, which comes first."""
    given, between, others = found.groups()

    def nearness(option: str) -> float:
        return SequenceMatcher(None, given.strip("-"), option.strip("-")).ratio()

    names = sorted(others.split(", "), key=nearness, reverse=True)
    return given + between + ", ".join(name for name in names if nearness(name) > nearness(names[0]) - NEAR)


def verb_path(program: help.Verb, arguments: Sequence[str]) -> str:
    """Return the verb that a command line calls, with the program before it: ``septool models show``."""
    path = "septool"
    command: help.Verb | None = program
    for word in arguments:
        command = help.subcommand(command, word)
        if command is None:
            break
        path += f" {word}"
    return path
