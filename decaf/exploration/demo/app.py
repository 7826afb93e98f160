"""The demo's page and answers as an ASGI application that only its own page can use.

A request must name this server as its host (no other site's name may lead here), must have the
token in its address, and may not come from another site's page. What a photograph is called is
never sent; its bytes are read into memory, up to a limit, and dropped with the answer. They are
read here and not by a form parser, which would write them to a temporary file.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
import secrets
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from decaf.errors import DecafError, ImageError
from decaf.exploration.demo.answers import Answers
from decaf.exploration.demo.settings import DemoSettings
from decaf.exploration.page import render_page
from decaf.runtime.wording import byte_size, printable

__all__ = ["MOST_PHOTOGRAPHS", "demo_app"]

MOST_PHOTOGRAPHS = 24
"""Photographs that the page takes at once; it sends one after the other."""

_FOLDER = Path(__file__).parent / "templates"

# The page asks this server alone; pictures are in the answers (data:) or the user's own (blob:).
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_POLICY_NAME = "Content-Security-Policy"
_HEADERS = {
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def demo_app(
    answers: Answers, *, token: str, hosts: Collection[str], settings: DemoSettings
) -> Starlette:
    """Return the application.

    Parameters
    ----------
    answers : Answers
        Asked in one thread, one request after the other.
    token : str
        First part of each address; without it nothing is there.
    hosts : collection of str
        Names of this server, with its port, as requests give them.
    settings : DemoSettings

    Returns
    -------
    Starlette
        ``GET /TOKEN/`` is the page; ``POST /TOKEN/QUESTION`` with the bytes of a photograph is
        answered in JSON, errors by ``{"error": LINE}``.
    """
    page = render_page(
        "demo.html",
        {
            "about": answers.about,
            "questions": " ".join(answers.questions),
            "max_bytes": settings.max_bytes,
            "max_size": byte_size(settings.max_bytes),
            "most": MOST_PHOTOGRAPHS,
        },
        _FOLDER,
    )
    # Of scripts and styles only those in the page, which their hashes name.
    policy = f"{_POLICY}; script-src {_hashes(page, 'script')}; style-src {_hashes(page, 'style')}"

    async def get_page(_: Request) -> Response:
        return HTMLResponse(page)

    routes = [
        Route("/", get_page),
        Route("/{question}", _Desk(answers, settings).answer, methods=["POST"]),
    ]
    return Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        middleware=[
            Middleware(_Guard, token=token, hosts=hosts, headers={**_HEADERS, _POLICY_NAME: policy})
        ],
        exception_handlers={HTTPException: _told},
    )


def _hashes(page: str, element: str) -> str:
    contents = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
    digests = [hashlib.sha256(content.encode()).digest() for content in contents]
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


class _Guard:
    """Refuses requests of others, and puts the page's policy on each answer."""

    def __init__(
        self, app: ASGIApp, *, token: str, hosts: Collection[str], headers: Mapping[str, str]
    ) -> None:
        self._app = app
        self._headers = headers
        self._token = token.encode()
        self._hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            ours = " or ".join(sorted(self._hosts))
            return _line(f"this server is {ours}, and not {host or 'without a name'}", 403)
        given = str(scope["path"]).removeprefix("/").partition("/")[0]
        if not secrets.compare_digest(given.encode("utf-8", "replace"), self._token):
            return _line("nothing is here: open the address that `decaf demo` has printed", 404)
        if origin is not None and origin not in self._origins:
            return _line("the page of another site may ask nothing here", 403)
        return None


class _Desk:
    """Takes photographs in and answers them one after the other."""

    def __init__(self, answers: Answers, settings: DemoSettings) -> None:
        self._answers = answers
        self._settings = settings
        self._one_thread = ThreadPoolExecutor(1, "decaf-demo")
        self._waiting = 0

    async def answer(self, request: Request) -> Response:
        """Answer a question about the photograph that is a request's body."""
        question = request.path_params["question"]
        if question not in self._answers.questions:
            raise HTTPException(404, "there is no such question")
        if self._waiting >= self._settings.max_waiting:
            raise HTTPException(503, f"{self._waiting} requests are waiting; try again later")
        self._waiting += 1
        try:
            return JSONResponse(await self._answer(question, request))
        except ImageError as error:
            return _line(f"{error.message} ({error.status})", 422)
        except DecafError as error:
            return _line(str(error), 422)
        except MemoryError:
            return _line("memory ran out for this photograph", 422)
        except HTTPException:
            raise
        except Exception as error:
            logging.getLogger(__name__).warning(
                "%s failed, a defect of decaf: %s: %s", question, type(error).__name__, error
            )
            return _line("a defect of decaf; the terminal says more", 500)
        finally:
            self._waiting -= 1

    async def _answer(self, question: str, request: Request) -> dict[str, object]:
        seconds = self._settings.seconds
        try:
            data = await asyncio.wait_for(self._body(request), seconds)
        except asyncio.TimeoutError:
            raise HTTPException(408, f"the photograph took over {seconds:g} s to come") from None
        # One that waits is dropped when its time is over; one that is at work comes to its end.
        work = asyncio.get_running_loop().run_in_executor(
            self._one_thread, self._answers.answer, question, data
        )
        try:
            return await asyncio.wait_for(work, seconds)
        except asyncio.TimeoutError:
            raise HTTPException(504, f"no answer within {seconds:g} s") from None

    async def _body(self, request: Request) -> bytes:
        most = self._settings.max_bytes
        told = f"the photograph has more than {byte_size(most)}"
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            raise HTTPException(413, told)
        data = bytearray()
        try:
            async for part in request.stream():
                data += part
                if len(data) > most:
                    raise HTTPException(413, told)
        except ClientDisconnect:
            raise HTTPException(400, "the photograph ended too early") from None
        return bytes(data)


def _line(text: str, status: int) -> Response:
    return JSONResponse({"error": printable(text)}, status)


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _line(error.detail, error.status_code)
