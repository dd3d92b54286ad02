"""Layout of ``--help`` and of the man pages: usage, description, grouped options, examples."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from septool.commands import defaults
from septool.commands.examples import EXAMPLES
from septool.config import JsonDict
from septool.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    # Private to typer, so nothing of it is imported when septool runs: only types depend on it.
    from typer._click import Command as Verb
    from typer._click import Context, HelpFormatter
    from typer._click import Parameter as Param

NOTHING = (None, (), [])  # defaults that mean that nothing was given
SETTINGS = {"help_option_names": ["-h", "--help"]}
LAST = ("Machine", "Printing")  # groups that every verb has, after its own
WIDEST = 120  # columns; longer lines are hard to read
# What stands for the value of an option, whatever verb has it; elsewhere its type or its own name says it.
VALUES = {
    "sample_rate": "HZ",
    "segment": "SECONDS",
    "overlap": "SECONDS",
    "budget": "SECONDS",
    "minimum_seconds": "SECONDS",
    "save_minutes": "MINUTES",
    "snr": "DB",
    "difference_db": "DB",
    "shard": "I/N",
    "raw": "FORMAT",
    "settings": "KEY=VALUE",
    "trained_on": "CORPUS",
    "threshold": "SCORE",
}


def set_defaults(command: Verb, ctx: Context, args: list[str]) -> None:
    """Let the user's own defaults stand in for those of a verb's options; help needs none."""
    verb = defaults.verb_of(ctx)
    if not verb or ctx.resilient_parsing or not {"-h", "--help"}.isdisjoint(args):
        return
    settings = defaults.read_settings(command, verb, ctx)
    ctx.default_map = {name: setting.value for name, setting in settings.items()}


class Command(TyperCommand):
    """A verb with septool's help, whose options take the user's own defaults."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        set_defaults(self, ctx, args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - typer's own way to write
        print_help(self, ctx)


class TolerantCommand(Command):
    """A verb that works, by its own defaults, where those of the user make no sense: it is asked what is wrong."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        with suppress(ConfigError):
            set_defaults(self, ctx, args)
        return TyperCommand.parse_args(self, ctx, args)


class Group(TyperGroup):
    """A verb of verbs with septool's help, whose options take the user's own defaults."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        set_defaults(self, ctx, args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - typer's own way to write
        print_help(self, ctx)


def prose(command: object) -> str:
    """Return a command's documentation, its lines as wide as wherever it is shown."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(command) or "").split("\n\n"))


def summary(command: Verb) -> str:
    """Return the first sentence of a command's help, without its full stop."""
    return (command.short_help or command.help or "").split("\n")[0].rstrip(".")


def subcommands(command: Verb, ctx: Context | None = None) -> dict[str, Verb]:
    """Return the verbs below a verb, in order; none below one that does something itself."""
    if not isinstance(command, TyperGroup):
        return {}
    ctx = ctx or typer.Context(command)
    verbs = {name: command.get_command(ctx, name) for name in command.list_commands(ctx)}
    return {name: verb for name, verb in verbs.items() if verb is not None}


def subcommand(command: Verb, name: str) -> Verb | None:
    """Return the verb of a name below a verb, or None."""
    if not isinstance(command, TyperGroup):
        return None
    ctx = typer.Context(command)
    return command.get_command(ctx, name) if name in command.list_commands(ctx) else None


def arguments(command: Verb) -> list[Param]:
    """Return what a verb takes without a dash."""
    return [param for param in command.params if param.param_type_name == "argument"]


def option_groups(command: Verb, ctx: Context) -> dict[str, list[Param]]:
    """Return the options by group: the verb's own first, ``--help`` last."""
    groups: dict[str, list[Param]] = {"Options": []}
    for param in command.get_params(ctx):
        if param.param_type_name == "option" and not getattr(param, "hidden", False):
            groups.setdefault(getattr(param, "rich_help_panel", None) or "Options", []).append(param)
    asking = next((param for param in groups["Options"] if param.name == "help"), None)
    if asking and LAST[-1] in groups:
        groups["Options"].remove(asking)
        groups[LAST[-1]].append(asking)
    ordered = [name for name in groups if name not in LAST] + [name for name in LAST if name in groups]
    return {name: groups[name] for name in ordered if groups[name]}


def argument_name(param: Param) -> str:
    """Return an argument as usage lines write it: ``INPUTS...``, or ``[SOURCE]`` if it can be left out."""
    name = (param.metavar or param.name.upper()) + "..." * (param.nargs == -1)
    return name if param.required else f"[{name}]"


def value_name(command: Verb, param: Param) -> str:
    """Return what stands for an option's value: its choices, its unit or a word; nothing for a switch."""
    if getattr(param, "is_flag", False):
        return ""
    hint = _hints(command.callback).get(param.name) if command.callback else None
    kinds = {kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)}
    word = "PATH" if Path in kinds else "N" if int in kinds else param.name.upper().replace("_", "-")
    word = param.metavar or VALUES.get(param.name) or "|".join(choices(command, param)) or word
    return " ".join([word] * max(param.nargs, 1))


@cache
def _hints(function: Callable[..., object]) -> JsonDict:
    return get_type_hints(function)


def choices(command: Verb, param: Param) -> list[str]:
    """Return what an option can be, if that is a list."""
    hint = _hints(command.callback).get(param.name) if command.callback else None  # the parser's own have none
    for kind in (hint, *get_args(hint)):
        if get_origin(kind) is Literal:
            return [str(choice) for choice in get_args(kind)]
        if isinstance(kind, type) and issubclass(kind, Enum):
            return [str(choice.value) for choice in kind]
    return []


def describe(param: Param) -> str:
    """Return an option's help, its default and its bounds."""
    if param.name == "help":
        return "Show this help and exit."
    facts = []
    if param.default is True and param.secondary_opts:
        facts.append(f"default: {param.opts[0]}")
    elif param.default is not False and param.default not in NOTHING and not callable(param.default):
        facts.append(f"default: {_plain(param.default)}")
    elif param.required and param.param_type_name == "option":
        facts.append("required")
    least, most = getattr(param, "min", None), getattr(param, "max", None)
    facts += [f"at least {bound(least)}"] if least is not None else []
    facts += [f"at most {bound(most)}"] if most is not None else []
    return " ".join([getattr(param, "help", None) or "", *([f"[{'; '.join(facts)}]"] if facts else [])])


def bound(value: float) -> str:
    """Return a number as help and messages write it: 86,400, 0.5."""
    return f"{value:,.0f}" if value >= 1 and value == int(value) else f"{value:g}"


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(getattr(value, "value", value))


def option_names(param: Param) -> list[str]:
    """Return what an option is called, the short name first."""
    return sorted([*param.opts, *param.secondary_opts], key=len)


def usage(command: Verb, ctx: Context) -> str:
    """Return how a verb is written."""
    pieces = ["[OPTIONS]", *map(argument_name, arguments(command))]
    return " ".join(
        [ctx.command_path, *pieces, *([command.subcommand_metavar] if isinstance(command, TyperGroup) else [])]
    )


def examples(ctx: Context) -> list[tuple[str, str]]:
    """Return command lines of a verb, each with what it is for."""
    return EXAMPLES.get(ctx.command_path.removeprefix("septool").strip(), [])


def sections(command: Verb, ctx: Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the lists of a verb's help: title, and names with what they mean."""
    if taken := arguments(command):
        yield "Arguments", [(argument_name(param).strip("[]"), describe(param)) for param in taken]
    below = subcommands(command, ctx)
    if below:
        yield "Commands", [(name, summary(child)) for name, child in below.items()]
    for title, params in option_groups(command, ctx).items():
        yield title, [(_written(command, param), describe(param)) for param in params]


def _written(command: Verb, param: Param) -> str:
    """Return an option as it is typed: ``-m, --model MODEL``."""
    return f"{', '.join(option_names(param))} {value_name(command, param)}".rstrip()


def print_help(command: Verb, ctx: Context) -> None:
    """Print a verb's help, as wide as the terminal."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, WIDEST)
    with console.capture() as drawn:
        draw_help(console, command, ctx)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in drawn.get().splitlines()))


def draw_help(console: Console, command: Verb, ctx: Context) -> None:
    """Write a verb's help on a console of rich's."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console.print(Text.assemble(("Usage: ", "bold"), usage(command, ctx)))
    for part in (command.help or "").split("\n\n"):
        console.print()
        console.print(part)
    for title, rows in sections(command, ctx):
        console.print()
        console.print(Text(f"{title}:", "bold"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan", no_wrap=True)
        grid.add_column()
        for row in rows:
            grid.add_row(*row)
        console.print(Padding(grid, (0, 0, 0, 2)))
    shown = examples(ctx)
    if shown:
        console.print()
        console.print(Text("Examples:", "bold"))
        for line, description in shown:
            console.print(Text(f"  # {description}", "dim"))
            console.print(Text(f"  {line}", no_wrap=True, overflow="ignore"), soft_wrap=True)
