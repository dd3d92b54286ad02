"""The web page and REST API: upload, status, download and removal of recordings."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from septool import catalogue
from septool.config import JsonDict
from septool.errors import SeptoolError, UsageError
from septool.models import MODELS
from septool.registry import suggest
from septool.reports.pages import render_template
from septool.serve.access import Access, AccessMiddleware
from septool.serve.jobs import BusyError, DiskFullError, Job, JobQueue, NoSuchJobError, State, Track, picture_row
from septool.serve.openapi import document
from septool.version import __version__

STALLED_S = 60.0  # after which an upload of which nothing comes gives its place to others
# Of what is sent and made; anything else would let a recording be a page.
MEDIA_TYPES = {
    **{".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".aac": "audio/aac"},
    **{".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg", ".webm": "video/webm", ".mp4": "video/mp4"},
    **{".zip": "application/zip", ".rttm": "text/plain"},
}
PARAMETERS = ("name", "model", "speakers", "token")  # with which a recording is sent
STATUSES = {UsageError: 400, NoSuchJobError: 404, BusyError: 503, DiskFullError: 507}


def usable_separators(default: str) -> list[JsonDict]:
    """Return the separators that can be asked for without a download, the default first.

    Other weights that are called the same as ones of the catalogue are offered by the name that they were given by.
    """
    rows, paths = [], {}
    for name, entry in catalogue.read_catalogue().items():
        path = catalogue.weights_path(entry)
        if path is not None and path.exists() and MODELS[entry.model].role == "separator":
            rows.append({"name": name, "voices": entry.sources, "sample_rate": entry.sample_rate})
            paths[name] = path
    key, path = catalogue.resolve_checkpoint(default)
    if paths.get(key) == path:
        rows.insert(0, rows.pop(list(paths).index(key)))
        return rows
    from septool.headers import read_header

    header = read_header(path)
    return [{"name": default, "voices": header.sources, "sample_rate": header.sample_rate}, *rows]


def make_app(queue: JobQueue, access: Access, models: Sequence[JsonDict]) -> Starlette:
    """Return the application.

    Args:
        queue: what works; it starts and stops with the application.
        access: who may use it.
        models: the separators that are offered, as :func:`usable_separators` describes them.
    """
    description = describe_server(queue, models)
    page = render_template("page.html.j2", "septool.serve", about=description)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        queue.start()
        try:
            yield
        finally:
            await run_in_threadpool(queue.stop)

    async def show_page(_: Request) -> Response:
        return HTMLResponse(page)

    async def show_server(_: Request) -> Response:
        return _json(description | {"waiting": queue.waiting()})

    async def show_document(_: Request) -> Response:
        return _json(document())

    async def send_recording(request: Request) -> Response:
        return await receive_recording(queue, request)

    async def show_job(request: Request) -> Response:
        return _json(job_row(queue, _job(queue, request)))

    async def remove_job(request: Request) -> Response:
        await run_in_threadpool(queue.remove, _job(queue, request))
        return Response(status_code=204)

    async def send_track(request: Request) -> Response:
        return _file(_track(queue, request).path, request)

    async def send_spectrogram(request: Request) -> Response:
        return _json(picture_row(_track(queue, request)))

    async def send_activity(request: Request) -> Response:
        job = _job(queue, request)
        if job.activity is None:
            raise NoSuchJobError("who speaks when is known of conversations that are done")
        return _file(job.activity, request)

    async def send_archive(request: Request) -> Response:
        job = _job(queue, request)
        if job.state != State.DONE:
            raise NoSuchJobError("its voices are not there yet")
        archive = await run_in_threadpool(queue.archive, job)
        return FileResponse(archive, media_type="application/zip", filename=f"{Path(job.name).stem}.zip")

    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/openapi.json", show_document),
            Route("/api", show_server),
            Route("/api/jobs", send_recording, methods=["POST"]),
            Route("/api/jobs/{id}", show_job, methods=["GET"]),
            Route("/api/jobs/{id}", remove_job, methods=["DELETE"]),
            Route("/api/jobs/{id}/tracks/{number:int}", send_track),
            Route("/api/jobs/{id}/tracks/{number:int}/spectrogram", send_spectrogram),
            Route("/api/jobs/{id}/activity", send_activity),
            Route("/api/jobs/{id}/voices.zip", send_archive),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        middleware=[Middleware(AccessMiddleware, access=access)],
        exception_handlers={SeptoolError: _refuse, HTTPException: _refuse},  # pyright: ignore[reportArgumentType]
        lifespan=lifespan,
    )


def describe_server(queue: JobQueue, models: Sequence[JsonDict]) -> JsonDict:
    """Return what a server offers and what it refuses."""
    return {
        "version": __version__,
        "models": list(models),
        "devices": list(queue.devices),
        "format": queue.suffix,
        "upload_bytes": queue.limits.upload_bytes,
        "recording_seconds": queue.limits.seconds,
        "keep_seconds": queue.limits.keep_seconds,
    }


async def receive_recording(queue: JobQueue, request: Request) -> Response:
    """Take in a recording, which is the body, and let it wait for its turn."""
    limit = queue.limits.upload_bytes
    too_large = HTTPException(413, f"the recording has more than the {limit / 1e6:g} MB that are taken here")
    query = request.query_params
    name = query.get("name", "")
    if not name.strip():
        raise UsageError("name is missing; it is that of the recording's file, such as ?name=call.wav")
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise HTTPException(415, "the body has to be the recording itself, not a form with it")
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large
    for key in query:
        if key not in PARAMETERS:
            raise suggest("parameter", key, PARAMETERS)
    job = await run_in_threadpool(queue.open, name, query.get("model"), query.get("speakers") or None)
    try:
        size = 0
        clock = asyncio.get_running_loop().time
        with job.recording.open("wb") as file:
            async with asyncio.timeout(STALLED_S) as patience:
                async for chunk in request.stream():
                    patience.reschedule(clock() + STALLED_S)
                    size += len(chunk)
                    if size > limit:
                        raise too_large
                    await run_in_threadpool(file.write, chunk)
        if not size:
            raise UsageError("the recording is empty")
    except BaseException as error:
        await run_in_threadpool(queue.remove, job)
        if isinstance(error, ClientDisconnect):
            return Response(status_code=400)  # nobody reads it
        if isinstance(error, TimeoutError):  # an OSError, too
            raise HTTPException(408, f"nothing of the recording came for {STALLED_S:g} s") from None
        if isinstance(error, OSError):
            raise DiskFullError.of(error) from None
        raise
    queue.submit(job)
    return _json(job_row(queue, job), 201, {"Location": _url(job)})


def job_row(queue: JobQueue, job: Job) -> JsonDict:
    """Return a recording as plain values for JSON."""
    url, expires_in = _url(job), queue.expires_in(job)
    return {
        "id": job.id,
        "name": job.name,
        "state": str(job.state),
        "model": job.model,
        "speakers": job.speakers,
        "ahead": queue.ahead(job),
        "done_seconds": round(job.done_seconds, 2),
        "seconds": None if job.seconds is None else round(job.seconds, 3),
        "elapsed": None if job.elapsed is None else round(job.elapsed, 2),
        "error": job.error,
        "notes": list(job.notes),
        "tracks": [
            {
                "title": track.title,
                "file": track.path.name,
                "bytes": track.size,
                "url": f"{url}/tracks/{number}",
                "spectrogram": f"{url}/tracks/{number}/spectrogram",
            }
            for number, track in enumerate(job.tracks if job.state == State.DONE else ())
        ],
        "activity": f"{url}/activity" if job.activity is not None and job.state == State.DONE else None,
        "archive": f"{url}/voices.zip" if job.state == State.DONE else None,
        "expires_in": None if expires_in is None else round(expires_in),
    }


def _url(job: Job) -> str:
    return f"/api/jobs/{job.id}"


def _job(queue: JobQueue, request: Request) -> Job:
    return queue.find(request.path_params["id"])


def _track(queue: JobQueue, request: Request) -> Track:
    job, number = _job(queue, request), request.path_params["number"]
    if job.state != State.DONE or number >= len(job.tracks):
        raise NoSuchJobError(f"{job.name} has no track {number}; 0 is the recording, from 1 its voices")
    return job.tracks[number]


def _file(path: Path, request: Request) -> Response:
    """Return a file to listen to, or, with ``?download``, to keep; parts of it, if they are asked for."""
    return FileResponse(
        path,
        media_type=MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream"),
        filename=path.name,
        content_disposition_type="attachment" if "download" in request.query_params else "inline",
        headers={"Cache-Control": "private, no-store"},
    )


def _json(row: JsonDict, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(row, status, {"Cache-Control": "no-store"} | (headers or {}))


async def _refuse(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _json({"error": error.detail}, error.status_code, dict(error.headers or {}))
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 500)
    return _json({"error": str(error)}, status, {"Retry-After": "60"} if status == 503 else {})
