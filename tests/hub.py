"""A local server that plays the hub, and an ordinary one: the same files, and every way in which they can fail to come.

What goes wrong is told by file name: ``faults[name] = "truncate"`` and so on. Paths are the hub's:
``/OWNER/NAME/resolve/REVISION/FILE``, ``/api/models/OWNER/NAME/revision/REVISION`` and what uploading needs.
"""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server has, what it shall do wrong, and what it was asked."""

    url: str = ""
    cdn: str = ""  # the same server under another name, where large files lie
    files: dict[str, bytes] = field(default_factory=dict)  # OWNER/NAME/FILE
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)  # OWNER/NAME
    faults: dict[str, str] = field(default_factory=dict)  # of FILE: what goes wrong, once if it ends with "-once"
    small: set[str] = field(default_factory=set)  # FILE: of which the hub keeps no sha256
    token: str = ""  # the one that is asked for, if any
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers
    uploaded: dict[str, bytes] = field(default_factory=dict)  # OWNER/NAME/FILE
    created: dict[str, bool] = field(default_factory=dict)  # OWNER/NAME: whether it is private
    stop: threading.Event = field(default_factory=threading.Event)

    def asked(self, method: str, part: str) -> list[dict[str, str]]:
        """Return the headers of requests whose path contains a part."""
        return [headers for verb, path, headers in self.requests if verb == method and part in path]

    def fault(self, name: str) -> str:
        """Return what goes wrong with a file now."""
        fault = self.faults.get(name, "")
        if fault.endswith("-once"):
            del self.faults[name]
        return fault.removesuffix("-once")


@contextmanager
def run_hub() -> Iterator[Hub]:
    """Run the server on a free port."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that has left

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url, hub.cdn = f"http://127.0.0.1:{server.server_port}", f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _note(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append((self.command, path, dict(self.headers)))
        return path

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def _may(self) -> bool:
        return not self.state.token or self.headers.get("Authorization") == f"Bearer {self.state.token}"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self._note()
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._about("/".join(parts[2:4]))
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif parts[0] in ("cdn", "plain"):
            self._send("/".join(parts[1:]))
        else:
            self._answer(404)

    def _about(self, repository: str) -> None:
        names = [name for name in self.state.files if name.startswith(f"{repository}/")]
        if not self._may() or not names:
            self._answer(401, X_Error_Message="Invalid username or password.")
            return
        siblings = [
            {
                "rfilename": name.removeprefix(f"{repository}/"),
                "size": len(self.state.files[name]),
                "lfs": None if name.rpartition("/")[2] in self.state.small else self._lfs(name),
            }
            for name in names
        ]
        card = self.state.cards.get(repository, {})
        about = {"id": repository, "modelId": repository, "sha": COMMIT, "private": False, "tags": []}
        self._json(about | {"siblings": siblings, "cardData": card, "downloads": 0, "likes": 0})

    def _lfs(self, name: str) -> dict[str, Any]:
        content = self.state.files[name]
        return {"sha256": _digest(content), "size": len(content), "pointerSize": 1}

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        """Answer as the hub does: a redirect to where large files lie, with what is known of them."""
        fault = self.state.faults.get(name, "")
        if fault.startswith(("401", "429", "500")):
            self.state.fault(name)
            headers = {"Retry_After": "0"} if fault.startswith("429") else {}
            self._answer(int(fault[:3]), b"", **headers)
            return
        content = self.state.files.get(f"{repository}/{name}")
        if not self._may():
            self._answer(401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        elif content is None or fault == "404":
            self._answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        else:
            etag = f'"{_digest(content)}"'
            commit = revision if len(revision) == 40 else COMMIT
            self._answer(
                302,
                Location=f"{self.state.cdn}/cdn/{repository}/{name}",
                X_Repo_Commit=commit,
                X_Linked_Etag=etag,
                X_Linked_Size=str(len(content)),
                ETag=etag,
            )

    def _send(self, key: str) -> None:
        """Send a file's bytes, or do wrong what shall go wrong."""
        content, name = self.state.files.get(key), key.rpartition("/")[2]
        if content is None:
            self._answer(404)
            return
        fault = "" if self.command == "HEAD" else self.state.fault(name)
        if fault[:3] in ("401", "404", "429", "500", "503"):
            self._answer(int(fault[:3]))
            return
        if fault == "wrong":
            content = bytes(len(content))
        if fault == "slow":
            self.state.stop.wait(2)
        start = 0
        wanted, etag = self.headers.get("Range"), f'"{_digest(content)}"'
        if wanted and fault != "no-range" and self.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", etag)
        if fault == "endless":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._never_stop()
            return
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = content[start:]
        if fault in ("truncate", "gone"):
            body = body[: len(body) // 2]
        self.wfile.write(body)
        if fault in ("truncate", "gone"):
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    def _never_stop(self) -> None:
        block = bytes(1 << 16)
        try:
            while not self.state.stop.is_set():
                self.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
                time.sleep(0)
        except OSError:
            self.close_connection = True

    # Uploading.

    def do_PUT(self) -> None:
        path = self._note()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.state.uploaded[path.removeprefix("/lfs/")] = body
        self._answer(200)

    def do_POST(self) -> None:
        path = self._note()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._may():
            self._answer(401)
        elif path == "/api/repos/create":
            about = json.loads(body)
            name = "/".join(filter(None, (about.get("organization"), about["name"])))
            # Older libraries say the one, newer ones the other.
            self.state.created[name] = about.get("private", False) or about.get("visibility") == "private"
            self._json({"url": f"{self.state.url}/{name}", "name": name, "id": name})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": each["path"], "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular"}
                for each in json.loads(body)["files"]
            ]
            self._json({"files": [each | {"shouldIgnore": False} for each in files]})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            actions = [
                {
                    "oid": each["oid"],
                    "size": each["size"],
                    "actions": {"upload": {"href": f"{self.state.url}/lfs/{each['oid']}", "header": {}}},
                }
                for each in objects
            ]
            self._answer(
                200,
                json.dumps({"transfer": "basic", "objects": actions}).encode(),
                Content_Type="application/vnd.git-lfs+json",
            )
        elif "/commit/" in path:
            repository = "/".join(path.split("/")[3:5])
            for line in body.splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "file":
                    self.state.uploaded[f"{repository}/{value['path']}"] = base64.b64decode(value["content"])
                elif item["key"] == "lfsFile":
                    content = self.state.uploaded.pop(value["oid"])
                    self.state.uploaded[f"{repository}/{value['path']}"] = content
            url = f"{self.state.url}/{repository}/commit/{COMMIT}"
            self._json({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})
        else:
            self._answer(404)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
