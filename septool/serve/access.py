"""Access control of the server: origins on this machine, and a token beyond it.

A page of somebody else can make a browser send requests to an address of this machine. It can do so from its own name,
which browsers tell (``Origin``, ``Sec-Fetch-Site``), or from a name that it lets point to this machine (DNS rebinding),
which stands in ``Host``. Both are refused, so that a server without a token is open to programs of this machine alone.
"""

import ipaddress
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from septool.errors import UsageError
from septool.reports.pages import render_template

TOKEN_BYTES = 24
MIN_TOKEN = 16  # characters; what is shorter can be guessed
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPEN_PATHS = ("/static/",)  # the look of the page that asks for the token
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Access:
    """Names that the server answers to, and the token that it wants, if any."""

    names: frozenset[str] = frozenset({"localhost"})
    any_address: bool = False  # answers to every address of this machine; otherwise the loopback's alone
    token: str | None = None

    def knows_host(self, name: str) -> bool:
        """Return whether a host's name, without a port, means this server and cannot be made to by somebody else."""
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self.any_address or address.is_loopback

    def knows_token(self, token: str) -> bool:
        """Return whether a token is the right one, in a time that does not tell how much of it is."""
        return self.token is not None and secrets.compare_digest(token.encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Return whether a server bound to a host can be reached from this machine alone.

    Raises:
        UsageError: there is no such host.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UsageError(f"--host {host} is no address of this machine; try 127.0.0.1, or 0.0.0.0 for all") from None
    return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)


def plan_access(host: str, token: str | None, names: Sequence[str]) -> Access:
    """Return who may use a server that is bound to a host; beyond this machine there is always a token.

    Args:
        host: the address that the server is bound to.
        token: the one that it shall want, without spaces at its ends; made where one is needed and none was given.
        names: further ones that it goes by, such as that of a proxy before it.

    Raises:
        UsageError: no such host, or a token that can be guessed.
    """
    token = None if token is None else token.strip()  # as requests give it
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise UsageError(
            f"--token has {len(token)} characters; give {MIN_TOKEN} or more of ASCII, or leave it out to have one made"
        )
    allowed = {"localhost", *(name.lower() for name in names)}
    if is_loopback(host):
        return Access(frozenset(allowed), token=token)
    machine = socket.gethostname().lower()
    return Access(
        frozenset(allowed | {machine, f"{machine}.local", host.lower()}),
        any_address=True,
        token=token or secrets.token_urlsafe(TOKEN_BYTES),
    )


class AccessMiddleware:
    """Refuses requests before anything else sees them, and adds headers that keep the page to itself."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return what a request is answered with that may not pass; None for one that may."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        hosts = headers.getlist("host")
        name = _host_name(hosts[0]) if len(hosts) == 1 else ""
        if not self.access.knows_host(name):
            message = f"this server does not go by the name {name!r}; septool serve --name {name or 'NAME'} lets it"
            return JSONResponse({"error": message}, 421)
        if not self._is_own_request(headers, hosts[0], path, method):
            return JSONResponse({"error": "requests of other pages are not answered"}, 403)
        if self.access.token is None or path.startswith(OPEN_PATHS):
            return None
        return self._ask_for_token(scope, headers, path, method)

    def _is_own_request(self, headers: Headers, host: str, path: str, method: str) -> bool:
        """Return whether a request is of no page, or of the server's own; any page may have a link to it."""
        is_link = method == "GET" and path == "/" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not is_link:
            return False
        origin = headers.get("origin")
        if method in SAFE_METHODS or origin is None:
            return True
        return urlsplit(origin).netloc.lower() == host.lower()

    def _ask_for_token(self, scope: Scope, headers: Headers, path: str, method: str) -> Response | None:
        cookie = f"septool-{(scope.get('server') or ('', 0))[1]}"  # browsers share cookies between ports
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.access.knows_token(given.strip()):
            return None
        if self.access.knows_token(_cookie(headers, cookie)):
            return None
        if path != "/" or method != "GET":
            message = "this server wants its token, as Authorization: Bearer TOKEN"
            return JSONResponse({"error": message}, 401, {"WWW-Authenticate": "Bearer"})
        offered = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0].strip()
        if self.access.knows_token(offered):
            response = RedirectResponse("/", 303)  # out of the address, which browsers remember
            response.set_cookie(cookie, self.access.token or "", httponly=True, samesite="strict")
            return response
        page = render_template("token.html.j2", "septool.serve", is_wrong=bool(offered))
        return Response(page, 401, {"WWW-Authenticate": "Bearer"}, "text/html")


def _host_name(host: str) -> str:
    """Return the name in a ``Host`` header, without the port; nothing if it is none.

    >>> _host_name("LocalHost:8765"), _host_name("[::1]:8765"), _host_name("a@b")
    ('localhost', '::1', '')
    """
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises if it is no number
    except ValueError:
        return ""
    return (parts.hostname or "").rstrip(".") if parts.username is None and not parts.path else ""


def _cookie(headers: Headers, name: str) -> str:
    try:
        return SimpleCookie(headers.get("cookie", ""))[name].value
    except (CookieError, KeyError):
        return ""
