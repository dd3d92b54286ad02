"""Running the server: its address, the application and the event loop."""

import logging
import socket
from collections.abc import Callable, Sequence
from urllib.parse import quote

import uvicorn

from septool import catalogue, checkpoints
from septool.device import choose_device
from septool.errors import UsageError
from septool.models.base import Separator
from septool.serve.access import Access, plan_access
from septool.serve.app import make_app, usable_separators
from septool.serve.jobs import JobQueue, Limits

FORMATS = ("wav", "flac", "mp3")  # that every browser plays
BACKLOG = 128


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    names: Sequence[str] = (),
    token: str | None = None,
    model: str = "galr",
    device: str = "auto",
    suffix: str = "wav",
    max_megabytes: float = 500.0,
    max_minutes: float = 180.0,
    keep_minutes: float = 60.0,
    listening: Callable[[str], None] = lambda _: None,
    log_requests: bool = False,
) -> None:
    """Serve the page and its API until a signal ends it.

    Args:
        host: address to listen at; beyond this machine there is always a token.
        port: 0 takes any that is free.
        names: host names, beside its own, that the server goes by, such as that of a proxy before it.
        token: what requests have to bring along.
        model: the separator that is used unless another is asked for.
        device: where it computes, as for ``separate``; several with commas work on a recording each.
        suffix: format of the voices.
        max_megabytes: of a recording's file.
        max_minutes: of a recording.
        keep_minutes: after which the files of a recording that is done go.
        listening: called once with the address of the page.
        log_requests: logs a line for each.

    Raises:
        UsageError: settings that make no sense, or an address that cannot be listened at.
        CheckpointError: weights that are missing or damaged, or that do not separate.
    """
    if suffix not in FORMATS:
        raise UsageError(f"--format is {suffix!r}; browsers play {', '.join(FORMATS)}")
    devices = [choose_device(name.strip()) for name in device.split(",")]
    if len({(chosen.type, chosen.index or 0) for chosen in devices}) < len(devices):  # cuda is cuda:0
        raise UsageError(f"--device {device} names one device twice")
    access = plan_access(host, token, names)
    with listen(host, port) as listener:  # before weights are loaded, which takes seconds
        checkpoints.load(catalogue.resolve_checkpoint(model)[1], Separator)  # refuses what cannot separate
        models = usable_separators(model)
        limits = Limits(round(max_megabytes * 1e6), 60 * max_minutes, 60 * keep_minutes)
        queue = JobQueue(
            model=models[0]["name"],
            models={entry["name"]: entry["voices"] for entry in models},
            devices=[str(chosen) for chosen in devices],
            limits=limits,
            suffix=suffix,
        )
        if log_requests:
            requests = logging.getLogger("uvicorn.access")
            requests.setLevel(logging.INFO)
            requests.addFilter(_leave_out_query)
        config = uvicorn.Config(
            make_app(queue, access, models),
            log_config=None,
            access_log=log_requests,
            server_header=False,
            proxy_headers=False,  # nothing here goes by what a proxy says of who is before it
            timeout_graceful_shutdown=1,
        )
        listening(page_address(listener, host, access))
        uvicorn.Server(config).run(sockets=[listener])


def _leave_out_query(record: logging.LogRecord) -> bool:
    """Leave out of a request's line what follows its path: the token, or what a recording is called."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            argument.partition("?")[0] if isinstance(argument, str) else argument for argument in record.args
        )
    return True


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UsageError: another program does, or nobody may.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--port {port} of {host} cannot be listened at: {why}; try --port 0, any free one") from None


def page_address(listener: socket.socket, host: str, access: Access) -> str:
    """Return where the page is, as a browser takes it, with the token if there is one."""
    port = listener.getsockname()[1]
    name = socket.gethostname().lower() if host in ("0.0.0.0", "::") else host
    authority = f"[{name}]" if ":" in name else name
    return f"http://{authority}:{port}/" + ("" if access.token is None else f"?token={quote(access.token, safe='')}")
