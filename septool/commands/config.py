"""``septool config``: shows defaults from configuration files and environment variables."""

from typing import Annotated

import typer

from septool.commands import defaults, help, options

app = typer.Typer(
    cls=help.Group,
    help="Show the defaults that septool.toml and SEPTOOL_* variables set.",
    no_args_is_help=True,
    subcommand_metavar="COMMAND ...",
)


@app.command("show")
def show(
    ctx: typer.Context,
    verb: Annotated[
        list[str] | None, typer.Argument(help="Show all options of one verb, such as separate or prepare folder.")
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show where defaults come from: those set by files and variables, or every option of one verb.

    In order of precedence: the command line; SEPTOOL_VERB_OPTION, such as SEPTOOL_SEPARATE_MODEL; SEPTOOL_OPTION, for
    options shared by verbs (device, jobs, force, skip-existing, yes, offline, json, quiet, verbose, debug);
    septool.toml in the current folder, first the verb's section, then the top level; likewise septool.toml in the
    user's configuration folder, or the file that $SEPTOOL_CONFIG names; the default that the help shows.

    Unknown keys are refused, and so are values that their verb would refuse.
    """
    from septool.commands import printing
    from septool.errors import UsageError

    root = ctx.find_root().command
    verbs = {" ".join(names): (names, command) for names, command in defaults.every_verb(root)}
    wanted = " ".join(verb or [])
    if wanted and wanted not in verbs:
        raise UsageError(f"there is no verb {wanted!r}; see septool --help")
    rows = []
    for names, command in [verbs[wanted]] if wanted else verbs.values():
        settings = defaults.read_settings(command, names)
        for key, param in defaults.option_params(command).items():
            default = None if callable(param.default) else param.default
            setting = settings.get(param.name) or defaults.Setting(default, "default")
            if wanted or setting.source != "default":
                rows.append({"verb": " ".join(names), "option": key, "value": setting.value, "source": setting.source})
    if json:
        for row in rows:
            printing.json_line({**row, "value": _plain(row["value"])})
        return
    for path in defaults.files():
        printing.note(f"read: {path}")
    if not rows:
        printing.note(f"nothing is set; {defaults.FILE} here, {defaults.user_file()} and SEPTOOL_* variables would be")
        return
    printing.table(
        ["verb", "option", "value", "source"],
        [[row["verb"], row["option"], _shown(row["value"]), row["source"]] for row in rows],
    )


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | list | None) else str(getattr(value, "value", value))


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None else str(getattr(value, "value", value))
