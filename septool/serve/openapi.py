"""The OpenAPI description of the REST API, served at ``/openapi.json``."""

from septool.config import JsonDict
from septool.serve.jobs import State
from septool.version import __version__

STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
OPTIONAL_NUMBER, OPTIONAL_STRING = {"type": ["number", "null"]}, {"type": ["string", "null"]}


def document() -> JsonDict:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "septool serve",
            "version": __version__,
            "description": "Send a recording in which people talk over each other, fetch each voice. "
            "A recording and its voices are known by an identifier alone, and go after the keep_seconds of /api.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The one that septool serve printed, where it printed one.",
                }
            },
            "parameters": {
                "id": {"name": "id", "in": "path", "required": True, "schema": STRING},
                "number": {
                    "name": "number",
                    "in": "path",
                    "required": True,
                    "description": "0 is the recording, from 1 its voices.",
                    "schema": {"type": "integer", "minimum": 0},
                },
                "download": {
                    "name": "download",
                    "in": "query",
                    "description": "Makes browsers keep the file instead of playing it.",
                    "schema": STRING,
                },
            },
        },
    }


def _paths() -> JsonDict:
    identifier, number, download = (
        {"$ref": f"#/components/parameters/{name}"} for name in ("id", "number", "download")
    )
    return {
        "/api": {"get": _operation("showServer", "What the server offers and refuses", {200: _json("Server")})},
        "/api/jobs": {
            "post": _operation(
                "sendRecording",
                "Send a recording, which is the body",
                {
                    201: _json("Job", "It waits for its turn; Location is where to ask how far it is."),
                    400: _json("Error", "No name, an empty body, an unknown model or number of speakers."),
                    408: _json("Error", "Nothing of the recording came for a minute."),
                    413: _json("Error", "More bytes than are taken."),
                    415: _json("Error", "A form instead of the recording itself."),
                    503: _json("Error", "Too many recordings are waiting."),
                    507: _json("Error", "The disk is full."),
                },
                parameters=[
                    _query("name", "Name of the recording's file; the voices are named after it.", required=True),
                    _query("model", "One of the server's models; its first by default."),
                    _query("speakers", "Takes it as a conversation of so many people: auto, N or N-M."),
                ],
                requestBody={"required": True, "content": {"application/octet-stream": {}, "audio/*": {}}},
            )
        },
        "/api/jobs/{id}": {
            "parameters": [identifier],
            "get": _operation("showJob", "How far a recording is", {200: _json("Job"), 404: _json("Error")}),
            "delete": _operation(
                "removeJob",
                "Give a recording up and remove its files",
                {204: {"description": "It is gone."}, 404: _json("Error")},
            ),
        },
        "/api/jobs/{id}/tracks/{number}": {
            "parameters": [identifier, number],
            "get": _operation(
                "fetchTrack",
                "A voice, or the recording; Range is heeded",
                {200: _file("audio/*"), 206: _file("audio/*"), 404: _json("Error")},
                parameters=[download],
            ),
        },
        "/api/jobs/{id}/tracks/{number}/spectrogram": {
            "parameters": [identifier, number],
            "get": _operation(
                "fetchSpectrogram",
                "What a track looks like over the whole of its time",
                {200: _json("Spectrogram"), 404: _json("Error")},
            ),
        },
        "/api/jobs/{id}/activity": {
            "parameters": [identifier],
            "get": _operation(
                "fetchActivity",
                "Who speaks when in a conversation, as RTTM",
                {200: _file("text/plain"), 404: _json("Error")},
                parameters=[download],
            ),
        },
        "/api/jobs/{id}/voices.zip": {
            "parameters": [identifier],
            "get": _operation(
                "fetchArchive", "All that was made of a recording", {200: _file("application/zip"), 404: _json("Error")}
            ),
        },
    }


def _schemas() -> JsonDict:
    return {
        "Server": _object(
            version=STRING,
            models=_list(_object(name=STRING, voices=INTEGER, sample_rate=INTEGER)),
            devices=_list(STRING),
            format=STRING | {"description": "Of the voices."},
            upload_bytes=INTEGER,
            recording_seconds=NUMBER,
            keep_seconds=NUMBER,
            waiting=INTEGER | {"description": "Recordings that have not begun."},
        ),
        "Job": _object(
            id=STRING,
            name=STRING,
            state={"type": "string", "enum": [str(state) for state in State]},
            model=STRING,
            speakers=OPTIONAL_STRING,
            ahead=INTEGER | {"description": "Recordings that come before it."},
            done_seconds=NUMBER | {"description": "Of the recording; conversations are gone through twice."},
            seconds=OPTIONAL_NUMBER | {"description": "Of the recording."},
            elapsed=OPTIONAL_NUMBER | {"description": "Seconds that it took."},
            error=OPTIONAL_STRING,
            notes=_list(STRING) | {"description": "What a listener may want to know."},
            tracks=_list({"$ref": "#/components/schemas/Track"}) | {"description": "The recording, then its voices."},
            activity=OPTIONAL_STRING | {"description": "Where to fetch who speaks when."},
            archive=OPTIONAL_STRING | {"description": "Where to fetch all files at once."},
            expires_in=OPTIONAL_NUMBER | {"description": "Seconds until its files go."},
        ),
        "Track": _object(title=STRING, file=STRING, bytes=INTEGER, url=STRING, spectrogram=STRING),
        "Spectrogram": _object(
            rows=INTEGER | {"description": "Bands of frequency, from 0 Hz up."},
            columns=INTEGER | {"description": "Moments, from the beginning to the end."},
            range_db=NUMBER | {"description": "Between 0 and 255; all tracks of a recording have one scale."},
            levels=STRING
            | {
                "contentEncoding": "base64",
                "description": "A byte for each level, row by row from the lowest frequency.",
            },
        ),
        "Error": _object(error=STRING),
    }


def _operation(identifier: str, summary: str, responses: dict[int, JsonDict], **more: object) -> JsonDict:
    """Return an operation; beside its own answers any may be that the host, the page or the token is not known."""
    refusals = {
        401: _json("Error", "The token is missing or wrong."),
        403: _json("Error", "A request of somebody else's page."),
        421: _json("Error", "A name that the server does not go by."),
    }
    answers = {str(status): answer for status, answer in sorted((responses | refusals).items())}
    return {"operationId": identifier, "summary": summary, "responses": answers, **more}


def _json(schema: str, description: str = "") -> JsonDict:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": description or f"{schema}.", "content": {"application/json": {"schema": reference}}}


def _file(kind: str) -> JsonDict:
    return {"description": "The file.", "content": {kind: {}}}


def _query(name: str, description: str, *, required: bool = False) -> JsonDict:
    return {"name": name, "in": "query", "required": required, "description": description, "schema": STRING}


def _object(**properties: JsonDict) -> JsonDict:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: JsonDict) -> JsonDict:
    return {"type": "array", "items": items}
