"""Defaults of options from ``septool.toml`` and ``SEPTOOL_*`` variables, with the origin of each.

From the strongest: the command line, ``SEPTOOL_VERB_OPTION``, ``SEPTOOL_OPTION``, the section of the verb in
``septool.toml`` of the current folder, its top level, the same of ``septool.toml`` in the user's configuration folder,
what the help says. The top level and ``SEPTOOL_OPTION`` take the options that mean the same wherever they are; those of
one verb go by its name: ``[separate]``, ``SEPTOOL_SEPARATE_MODEL``.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperOption

from septool.batch.stdio import PIPE
from septool.commands import VERBS
from septool.commands.usage_errors import describe_fault
from septool.config import SWITCHES, JsonDict, JsonMapping, describe_unknown_key
from septool.errors import ConfigError

if TYPE_CHECKING:
    # Private to typer, so nothing of it is imported when septool runs: only types depend on it.
    from typer._click import Command as Verb
    from typer._click import Context

FILE = "septool.toml"
SHARED = ("device", "jobs", "force", "skip-existing", "yes", "offline", "json", "quiet", "verbose", "debug")
# Variables that are no option's default.
OTHERS = ("SEPTOOL_AUTO_FETCH", "SEPTOOL_CACHE", "SEPTOOL_CACHE_GB", "SEPTOOL_CONFIG")


@dataclass(frozen=True)
class Setting:
    """A default that was set, and by what."""

    value: object
    source: str


@dataclass(frozen=True)
class Layer:
    """Values of one place: key of the option to value; a place overrules those before it."""

    source: str
    values: JsonMapping


def user_file() -> Path:
    """Return where the user's own defaults are: ``$SEPTOOL_CONFIG``, or ``septool.toml`` in the system's folder."""
    named = os.environ.get("SEPTOOL_CONFIG")
    return Path(named) if named else Path(typer.get_app_dir("septool")) / FILE


def files() -> list[Path]:
    """Return the files that are read, the weaker first.

    Raises:
        ConfigError: ``$SEPTOOL_CONFIG`` names a file that is not there.
    """
    user, folder = user_file(), Path(FILE)
    if os.environ.get("SEPTOOL_CONFIG") and not user.is_file():
        raise ConfigError(f"SEPTOOL_CONFIG is {str(user)!r}, which is no file; name one, or unset it")
    return [path for path in (user, folder) if path.is_file()]


def option_params(command: Verb) -> dict[str, TyperOption]:
    """Return the options of a verb that can have a default of the user's, by their long name without dashes."""
    found: dict[str, TyperOption] = {}
    for param in command.params:
        if isinstance(param, TyperOption) and not param.is_eager:
            found[max(param.opts, key=len).removeprefix("--")] = param
    return found


def verb_of(ctx: Context) -> list[str]:
    """Return the names of a verb, without the program's."""
    names: list[str] = []
    while ctx.parent is not None:
        names.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return names


def read_settings(command: Verb, verb: list[str], ctx: Context | None = None) -> dict[str, Setting]:
    """Return the defaults set for a verb, by the name of the parameter.

    Args:
        command: the verb's.
        verb: its names.
        ctx: that of the call, where there is one.

    Raises:
        ConfigError: a key that the verb does not have, with what was probably meant, or a value that the verb would
            refuse.
    """
    params = option_params(command)
    settings = {}
    for layer in layers(verb, params):
        for key, value in layer.values.items():
            param = params[key]
            setting = Setting(_as_typed(param, value, f"{layer.source}: {key}"), layer.source)
            _check(param, setting, ctx or typer.Context(command, info_name=verb[-1]))
            settings[param.name] = setting
    return settings


def typed(ctx: Context, **values: object) -> list[Any]:
    """Return values of options where the user typed them, and else the program's own defaults.

    For what goes with some ways of using a verb only: a default of the user's that does not apply is no contradiction.

    Args:
        ctx: that of the call.
        values: as the verb got them, by the name of the parameter.
    """
    own = {param.name: param.default for param in ctx.command.params}
    sources = {name: ctx.get_parameter_source(name) for name in values}
    return [
        own[name] if source is not None and source.name == "DEFAULT_MAP" else values[name]
        for name, source in sources.items()
    ]


def piped(ctx: Context, inputs: Sequence[str], out: str, *, jobs: int | None, skip_existing: bool) -> list[Any]:
    """Return ``jobs`` and ``skip_existing``, which mean nothing to a pipe: there, only where the user typed them."""
    if PIPE in (*inputs, out):
        return typed(ctx, jobs=jobs, skip_existing=skip_existing)
    return [jobs, skip_existing]


def typed_options(ctx: Context, *, besides: Sequence[str] = ()) -> list[str]:
    """Return the options that the user typed, such as ``--out``, except some, named by their parameters."""
    return [
        name
        for name, param in ((f"--{key}", param) for key, param in option_params(ctx.command).items())
        if param.name not in besides
        if (source := ctx.get_parameter_source(param.name)) is not None and source.name == "COMMANDLINE"
    ]


def _check(param: TyperOption, setting: Setting, ctx: Context) -> None:
    """Refuse what the parser would refuse on the command line, and say where it stands."""
    try:
        param.get_runtime_param().coerce(setting.value, param=param, ctx=ctx)
    except typer.TyperException as error:
        fault = describe_fault(error)
        option = max(param.opts, key=len)
        raise ConfigError(f"{setting.source}: {option} is {setting.value!r}; {fault[0].lower()}{fault[1:]}") from None


def layers(verb: list[str], params: JsonMapping) -> Iterator[Layer]:
    """Yield the places that set something for a verb, the weaker first."""
    shared, title = [key for key in SHARED if key in params], f"[{'.'.join(verb)}]"
    for path in files():
        tables = read_file(path)
        yield Layer(str(path), {key: tables[key] for key in shared if key in tables})
        section: object = tables
        for name in verb:
            section = section.get(name, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{path}: {name} is {section!r}; it is a section, {title}")
        given = {key.replace("_", "-"): value for key, value in section.items() if not isinstance(value, dict)}
        for key in given:
            if key not in params:
                raise ConfigError(f"{path}: {describe_unknown_key(key, list(params), table=title)}")
        yield Layer(f"{path} {title}", given)
    for prefix, keys in (("SEPTOOL_", shared), (variable(verb, ""), list(params))):
        for key in keys:
            name = prefix + key.upper().replace("-", "_")
            if os.environ.get(name):
                yield Layer(f"${name}", {key: os.environ[name]})


def variable(verb: list[str], key: str) -> str:
    """Return the variable of an option of a verb.

    >>> variable(["models", "list"], "remote")
    'SEPTOOL_MODELS_LIST_REMOTE'
    """
    return "_".join(["SEPTOOL", *verb, key]).upper().replace("-", "_")


def read_file(path: Path) -> JsonDict:
    """Read a file of defaults; its top level, with dashes in the names of options.

    Raises:
        ConfigError: it is no TOML, or the top level has what belongs to one verb or to none.
    """
    from septool.config import read_toml

    tables = read_toml(path)
    verbs = [key for key, value in tables.items() if isinstance(value, dict)]
    known = [*SHARED, *VERBS]
    for key in tables:
        name = key.replace("_", "-") if key not in verbs else key
        if name not in (VERBS if key in verbs else SHARED):
            unknown = describe_unknown_key(key, known, table="the top level")
            raise ConfigError(f"{path}: {unknown}; options of a verb go under its name")
    return {key if key in verbs else key.replace("_", "-"): value for key, value in tables.items()}


def describe_unknown_variables(root: Verb) -> list[str]:
    """Return a line for each ``SEPTOOL_*`` variable that means nothing here, with what was probably meant."""
    general = {*OTHERS, *(variable([], key) for key in SHARED)}
    unknown = sorted(name for name in os.environ if name.startswith("SEPTOOL_") and name not in general)
    if not unknown:  # so that nothing is built for those who have none
        return []
    own = [variable(verb, key) for verb, command in every_verb(root) for key in option_params(command)]
    lines = []
    for name in unknown:
        if name in own:
            continue
        of_verbs = [name_of_verb for name_of_verb in own if name_of_verb.endswith(name.removeprefix("SEPTOOL"))]
        close = of_verbs or difflib.get_close_matches(name, [*general, *own], n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        lines.append(f"the variable {name} is no option's default, nor anything else that septool reads{meant}")
    return lines


def every_verb(command: Verb, verb: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Verb]]:
    """Yield every verb below a command, those of verbs too."""
    from septool.commands.help import subcommands

    for name, child in subcommands(command).items():
        yield [*verb, name], child
        yield from every_verb(child, (*verb, name))


def _as_typed(param: TyperOption, value: object, origin: str) -> object:
    """Return a value as the parser takes it from a command line, or True or False for a switch."""
    if getattr(param, "is_flag", False):
        switch = value if isinstance(value, bool) else SWITCHES.get(str(value).lower())
        if switch is None:
            raise ConfigError(f"{origin} is {value!r}; a switch is true or false")
        return switch
    if param.multiple or param.nargs != 1:
        several = value if isinstance(value, list) else shlex.split(value) if isinstance(value, str) else [value]
        return [_word(item, origin) for item in several]
    return _word(value, origin)


def _word(value: object, origin: str) -> str:
    if isinstance(value, bool | list | dict):
        raise ConfigError(f"{origin} is {value!r}; it is one value, as on the command line")
    return str(value)
