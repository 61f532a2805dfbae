"""What a web page takes in: limits to the size, the room and the time of requests, for an ASGI application.

A request that is too much is refused before it is held: 408 (too slow), 413 (too large), 507 (no room for more files).
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
_REASONS = {408: "the request did not arrive in time", 413: "the request is too large", 507: "no room for more files"}


class RequestLimits:
    """ASGI middleware.

    Args:
        app: the page. It limits the size of one file by itself, and removes the files that it knows.
        upload_path: where files are sent to; the end of the address.
        folder: where the page writes them.
        most_kept_bytes: of all files in the folder, from which on no more are taken.
        most_body_bytes: of a request to another address.
        seconds: in which a request has to arrive, and after which a file that did not arrive as a whole is removed.
    """

    def __init__(
        self, app: Application, *, upload_path: str, folder: Path, most_kept_bytes: int, most_body_bytes: int,
        seconds: float,
    ) -> None:  # fmt: skip
        self._app = app
        self._upload_path = upload_path
        self._folder = folder
        self._most_kept = most_kept_bytes
        self._most_body = most_body_bytes
        self._seconds = seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].rstrip("/").endswith(self._upload_path):
            if self._kept_bytes() < self._most_kept:
                await _Request(receive, send, self._seconds, None).go_through(self._app, scope)
            else:
                await _refuse(send, 507)
        else:
            await _Request(receive, send, self._seconds, self._most_body).go_through(self._app, scope)

    def _kept_bytes(self) -> int:
        """Size of the files in the folder. Those in the folder itself are on their way; old ones were broken off."""
        total = 0
        for path in list(self._folder.rglob("*")):
            with contextlib.suppress(OSError):  # the page has just removed it
                facts = path.stat()
                if path.parent == self._folder and path.is_file() and time.time() - facts.st_mtime > self._seconds:
                    path.unlink()
                elif path.is_file():
                    total += facts.st_size
        return total


class _Request:
    """A request on its way: counts what arrives, and what became of it."""

    def __init__(self, receive: Receive, send: Send, seconds: float, most_bytes: int | None) -> None:
        self._receive = receive
        self._send = send
        self._ends = time.monotonic() + seconds
        self._bytes_left = most_bytes
        self._arrived = self._answered = False
        self._gone = False
        self._refused: int | None = None

    async def go_through(self, app: Application, scope: Message) -> None:
        """Let the page answer; where the request was refused, or its sender has left, no error of the page counts."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            if not (self._refused or self._gone):
                raise
        if self._refused and not self._answered:
            await _refuse(self._send, self._refused)

    async def receive(self) -> Message:
        if self._arrived:  # what follows is only the news that the sender has left
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._ends - time.monotonic())
        except (TimeoutError, asyncio.TimeoutError):  # two classes until Python 3.11
            return self._refuse(408)
        self._gone = message["type"] == "http.disconnect"
        self._arrived = not message.get("more_body", False)
        if self._bytes_left is not None:
            self._bytes_left -= len(message.get("body", b""))
            if self._bytes_left < 0:
                return self._refuse(413)
        return message

    def _refuse(self, status: int) -> Message:
        """The page sees a sender who has left, and gives up."""
        self._refused = status
        self._arrived = True
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if not self._refused:
            self._answered = True
            await self._send(message)


async def _refuse(send: Send, status: int) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": _REASONS[status].encode()})
