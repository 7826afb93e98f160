"""Requests to an ASGI application in this process, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1:8000"


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask_async(
    app: Any, method: str, path: str, body: Iterable[bytes] | AsyncIterator[bytes] = (), **more: str
) -> Reply:
    """Send a request in parts; `more` are headers, of which one that is empty is left out."""
    headers = {"host": HOST, **{name.replace("_", "-"): value for name, value in more.items()}}
    sent: list[dict[str, Any]] = []
    parts = body if isinstance(body, AsyncIterator) else _each(body)

    async def receive() -> dict[str, Any]:
        async for part in parts:
            return {"type": "http.request", "body": part, "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    start, *rest = sent
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], answered, b"".join(each.get("body", b"") for each in rest))


async def _each(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def ask(app: Any, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
    """Send a request, and wait for what comes back."""
    return asyncio.run(ask_async(app, method, path, [body] if body else [], **headers))
