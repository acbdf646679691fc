"""Checks every request before the application sees it: who asks, for what, and how much is sent.

- Only the routes that the page needs exist. Gradio brings dozens more (a file cache shared by all users, a proxy,
  an upload without a bound on the number of files, a code editor, ...): they answer 404.
- Every browser gets a random session cookie that scripts and other sites cannot use. A file belongs to one session.
- A page that is bound to this machine answers only to this machine's names (no DNS rebinding), and writes come only
  from its own pages.
- Bodies are bounded in length; the upload route has its own bound.
- A content policy forbids the browser to load anything from another host.
"""

import re
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "upscale_session"
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
MAX_BODY_BYTES = 64 * 1024
GET_PATHS = re.compile(
    r"/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)?"
    r"|/(assets|static|page)/.+|/files/.+"
    r"|/gradio_api/(info|startup-events|queue/data|heartbeat/[A-Za-z0-9]+)"
)
POST_PATHS = re.compile(r"/upload|/files/.+|/gradio_api/(queue/join|cancel|reset)/?")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Gradio compiles small scripts in the page, hence 'unsafe-eval'; nothing of it comes from another host.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


class RequestFilter:
    """ASGI middleware. `hosts`: names that the page answers to; none: any."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...] | None) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            refusal.headers["Connection"] = "close"  # the body is not read
            await refusal(scope, receive, send)
            return
        session = session_of(headers)
        fresh = None if session else secrets.token_urlsafe(32)
        scope["upscale_session"] = session or fresh

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message), fresh)
            await send(message)

        bounded = receive if scope["path"] == "/upload" else _Bounded(receive)
        await self.app(scope, bounded, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        host = urlsplit(f"//{headers.get('host', '')}")
        if self.hosts is not None and host.hostname not in self.hosts:
            return PlainTextResponse("this page answers to its own address only", status_code=403)
        method, path = scope["method"], scope["path"]
        allowed = GET_PATHS if method in ("GET", "HEAD") else POST_PATHS if method == "POST" else None
        if allowed is None or not allowed.fullmatch(path) or ".." in path:
            return PlainTextResponse("not found", status_code=404)
        origin = headers.get("origin")
        if method == "POST" and origin is not None and urlsplit(origin).netloc != host.netloc:
            return PlainTextResponse("requests from other pages are refused", status_code=403)
        if path != "/upload" and _declared_length(headers) > MAX_BODY_BYTES:
            return PlainTextResponse("too large", status_code=413)
        return None


class _Bounded:
    """`receive` that disconnects once a body is longer than the bound, whatever length it declared."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.num_bytes = 0

    async def __call__(self) -> Message:
        message = await self.receive()
        self.num_bytes += len(message.get("body", b""))
        return message if self.num_bytes <= MAX_BODY_BYTES else {"type": "http.disconnect"}


def session_of(headers: Headers) -> str | None:
    """The session in a browser's cookie, if it has the form of those given out here."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie is not None and TOKEN.fullmatch(cookie.value) else None


def _declared_length(headers: Headers) -> int:
    length = headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0


def _add_headers(headers: MutableHeaders, fresh_session: str | None) -> None:
    headers["Content-Security-Policy"] = CONTENT_POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    if fresh_session is not None:
        headers.append("Set-Cookie", f"{COOKIE}={fresh_session}; Path=/; HttpOnly; SameSite=Strict")
