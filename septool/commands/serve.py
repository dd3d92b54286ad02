"""``septool serve``."""

from typing import Annotated, Literal

import typer

from septool.commands import completion, downloading, options

LIMITS = "Limits"  # group of options in the help


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 accepts other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 picks a free one.")] = 8765,
    names: Annotated[
        list[str],
        typer.Option("--name", help="Additional host name of the server, such as that of a proxy; repeatable."),
    ] = [],  # noqa: B006 - typer's way of an empty list
    token: Annotated[
        str | None,
        typer.Option("--token", help="Token that requests must carry; created automatically for other machines."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            autocompletion=completion.checkpoints,
            help="Default separator; the page can choose another local one.",
        ),
    ] = "galr",
    suffix: Annotated[Literal["wav", "flac", "mp3"], typer.Option("--format", help="File format of the voices.")] = (
        "wav"
    ),
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    max_megabytes: Annotated[
        float, typer.Option("--max-megabytes", min=0.001, help="Largest file.", rich_help_panel=LIMITS)
    ] = 500.0,
    max_minutes: Annotated[
        float, typer.Option("--max-minutes", min=0.01, help="Longest recording.", rich_help_panel=LIMITS)
    ] = 180.0,
    keep_minutes: Annotated[
        float,
        typer.Option(
            "--keep-minutes",
            min=0.01,
            help="Time after which the files of a recording are deleted.",
            rich_help_panel=LIMITS,
        ),
    ] = 60.0,
    device: options.Device = "auto",
    yes: downloading.Yes = False,
    offline: downloading.Offline = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Serve a page on this machine: drop a recording, listen to each voice, download.

    The page and its REST API (see /openapi.json) answer only to programs on this machine, and not to other sites in
    its browser. With --host, other machines reach them with the token, which is part of the address printed. One
    recording is processed at a time, or one per device if several are given (--device cuda:0,cuda:1); others wait.
    Recordings and voices are kept in a temporary folder and deleted after --keep-minutes and when the server stops.
    Traffic is not encrypted: over a network that is not yours, put a proxy with TLS in front of it, or use ssh -L.

    Needs pip install "septool[serve]". Ctrl-C stops it.
    """
    from septool.commands import printing
    from septool.errors import InterruptedBySignal, UsageError

    try:
        from septool.serve.server import serve as run_server
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UsageError(f"serve needs {error.name}; install it with: pip install 'septool[serve]'") from None
    downloading.obtain_weights(model, yes=yes, quiet=quiet)

    def announce(address: str) -> None:
        printing.line(address)
        if not quiet:
            printing.note("this is the page; Ctrl-C stops it")
        if open_page:
            import webbrowser

            webbrowser.open(address)

    try:
        run_server(
            host=host,
            port=port,
            names=names,
            token=token,
            model=model,
            device=device,
            suffix=suffix,
            max_megabytes=max_megabytes,
            max_minutes=max_minutes,
            keep_minutes=keep_minutes,
            listening=announce,
            log_requests=verbose,
        )
    except InterruptedBySignal as stop:
        if not quiet:
            printing.note("ended; recordings and voices that it kept are gone")
        raise typer.Exit(stop.status) from None
