"""Who may ask a server on this machine: its user's browser, and nobody else.

A page of any web site can send requests to ``127.0.0.1``, and a name server can make
its own host's name mean that address (DNS rebinding). So a request must name this
host, carry the token that was printed, and come from a page of this server where it
changes anything.
"""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
_READING = {"GET", "HEAD"}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_token() -> str:
    """A new token, 256 bits that nobody guesses."""
    return secrets.token_urlsafe(32)


class LocalAccess:
    """Lets requests through that this machine's user sent, with safe headers."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        """Guards an application.

        Args:
            app: What is guarded.
            token: What the user was told; a browser keeps it as a cookie.
            port: Where the server listens.
        """
        self._app, self._token, self._port = app, token, port
        self._hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        self._cookie = f"medseg_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request itself, or passes it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._answer(scope)
        await (answer or self._app)(scope, receive, safely)

    def _answer(self, scope: Scope) -> Response | None:
        """The refusal, or the redirection that sets the cookie; None to go on."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self._hosts:
            return _refused(421, "this server answers to 127.0.0.1 only")
        origin = headers.get("origin")
        if scope["method"] not in _READING and origin != f"http://{host}":
            return _refused(403, "only pages of this server may change anything")
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if self._is_token(given) and scope["method"] in _READING:
            response = RedirectResponse(scope["path"], status_code=303)
            response.set_cookie(
                self._cookie, self._token, httponly=True, samesite="strict"
            )
            return response
        if not self._is_token(self._kept(headers)):
            return _refused(403, "open the whole address that `medseg view` printed")
        return None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())

    def _kept(self, headers: Headers) -> str:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        found = cookies.get(self._cookie)
        return "" if found is None else found.value


def _refused(status: int, reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", status_code=status)
