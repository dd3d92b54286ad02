"""Messages for wrong arguments: unknown options, and values that pydantic refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from septool.commands import help
from septool.printable import printable

if TYPE_CHECKING:
    import typer


NEAR = 0.15  # difference between the similarities of two options, between 0 and 1
OWN = "Value error, "  # what pydantic puts before the message of a ValueError
REQUIREMENTS = {  # by pydantic's kinds of errors
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
}


def describe_usage_error(error: typer.TyperException, program: help.Verb, arguments: Sequence[str]) -> str:
    """Return what is wrong with the arguments, and where to read what would be right; nothing if help was shown."""
    message = " ".join(error.format_message().removesuffix(".").split())
    if not message:
        return ""
    message = re.sub(r" \(Possible options: (.*)\)$", r"; did you mean \1?", message).replace(". Did you", "; did you")
    message = re.sub(r"(?<=^No such option: )(\S+)(; did you mean )(.*)(?=\?$)", _nearest_first, message)
    fault = _first_fault(error)
    if fault is not None:
        message = message.replace(fault["msg"].removesuffix("."), describe_fault(error))
        if repr(fault["input"]) not in message:
            message += f", not {fault['input']!r}"
    return f"septool: {printable(message[0].lower() + message[1:])}; see {verb_path(program, arguments)} --help\n"


def describe_fault(error: typer.TyperException) -> str:
    """Return what is wrong with a value, or what it has to be, in our words where pydantic has refused it."""
    fault = _first_fault(error)
    if fault is None:
        return error.format_message().removesuffix(".")
    required = REQUIREMENTS.get(fault["type"])
    if required is None:
        return fault["msg"].removeprefix(OWN).removesuffix(".")
    limits = {name: help.bound(value) for name, value in fault.get("ctx", {}).items()}
    return f"it has to be {required.format(**limits)}"


def _first_fault(error: typer.TyperException) -> dict[str, Any] | None:
    """Return what pydantic, which values are checked with, says of the first that it has refused."""
    return next(iter(getattr(error.__cause__, "errors", list)()), None)


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
