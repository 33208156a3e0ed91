"""What the mock received, kept so that a test or a person can look.

Bounded in number and in bytes; the oldest go first, the counters stay true.
Headers are parsed when somebody reads them, never while a request is served.
"""

from __future__ import annotations

import base64
from collections import Counter, deque
from dataclasses import dataclass

import orjson

_KEPT_BYTES = 64 << 20

OPEN, WHOLE, CLIENT_GONE, FAULT, STOPPED = "open", "whole", "client_gone", "fault", "stopped"
"""How a reply ended: not yet; all was written; the client hung up; the mock broke
it off as asked; the mock was stopped."""


def parse_headers(head: bytes) -> list[tuple[str, str]]:
    """Names in lower case and values, in order, of a head with its request line."""
    pairs: list[tuple[str, str]] = []
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            pairs.append((name.strip().lower().decode("latin-1"), value.strip().decode("latin-1")))
    return pairs


@dataclass(slots=True)
class Recorded:
    """One request and how its reply went. Written by the server while it serves.

    `path` is as sent, fault directives included; `time` is seconds of the
    mock's clock; `events` counts the stream's events written so far;
    `connection` numbers the TCP connection that it came on.
    """

    number: int
    time: float
    connection: int
    method: str
    path: str
    head: bytes
    body: bytes
    status: int = 0
    stream: bool = False
    events: int = 0
    ended: str = OPEN

    @property
    def raw_headers(self) -> list[tuple[str, str]]:
        """All headers in order, names in lower case."""
        return parse_headers(self.head)

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name; repeated ones are joined by `, `."""
        joined: dict[str, str] = {}
        for name, value in self.raw_headers:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    @property
    def json(self) -> object:
        """The body as JSON; raises orjson.JSONDecodeError."""
        return orjson.loads(self.body)

    def as_json(self) -> dict[str, object]:
        """For `GET /_mock/requests`."""
        try:
            body, encoding = self.body.decode(), "text"
        except UnicodeDecodeError:
            body, encoding = base64.b64encode(self.body).decode(), "base64"
        return {
            "number": self.number,
            "time": self.time,
            "connection": self.connection,
            "method": self.method,
            "path": self.path,
            "headers": self.raw_headers,
            "body": body,
            "body_encoding": encoding,
            "status": self.status,
            "stream": self.stream,
            "events": self.events,
            "ended": self.ended,
        }


class Recorder:
    """The last requests, oldest first, and counts over all of them."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._kept: deque[Recorded] = deque()
        self._bytes = 0
        self.requests = 0
        self.connections = 0

    def add(self, recorded: Recorded) -> None:
        """Keep one request; forget the oldest beyond the limits."""
        kept = self._kept
        kept.append(recorded)
        self._bytes += len(recorded.body)
        while len(kept) > self._keep or (self._bytes > _KEPT_BYTES and len(kept) > 1):
            self._bytes -= len(kept.popleft().body)

    def clear(self) -> None:
        """Forget requests and counts."""
        self._kept.clear()
        self._bytes = 0
        self.requests = 0

    def all(self) -> tuple[Recorded, ...]:
        """What is kept, oldest first."""
        return tuple(self._kept)

    def stats(self) -> dict[str, object]:
        """Counts: `requests` and `connections` over all, the rest over those kept."""
        kept = self.all()
        return {
            "requests": self.requests,
            "connections": self.connections,
            "kept": len(kept),
            "streams": sum(1 for one in kept if one.stream),
            "events": sum(one.events for one in kept),
            "by_path": dict(Counter(one.path for one in kept)),
            "by_status": {str(key): n for key, n in Counter(one.status for one in kept).items()},
            "by_ending": dict(Counter(one.ended for one in kept)),
        }
