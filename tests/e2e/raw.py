"""HTTP/1.1 by hand, for what no client library would send, and for how a reply really ended.

Blocking sockets on loopback; every wait is bounded.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_TIMEOUT = 10.0


class Cut(Exception):
    """The connection ended inside a reply. `seen` is what came of its body."""

    def __init__(self, seen: bytes) -> None:
        super().__init__(f"cut after {len(seen)} bytes: {seen[-200:]!r}")
        self.seen = seen


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as line:
        yield line


def request(
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    host: str = "localhost",
) -> bytes:
    """The bytes of a request with a content-length."""
    fields = {
        "host": host,
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def chunked(
    path: str, pieces: list[bytes], headers: Mapping[str, str] | None = None
) -> Iterator[bytes]:
    """The bytes of a POST whose body comes in chunks, piece by piece."""
    fields = {"host": "localhost", "content-type": "application/json", **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    yield f"POST {path} HTTP/1.1\r\n{lines}transfer-encoding: chunked\r\n\r\n".encode()
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def exchange(port: int, *pieces: bytes) -> Answer:
    """Sends, and reads one whole reply. Raises Cut when it does not come whole."""
    with connected(port) as line:
        # A server that refuses early may close before it has read everything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                line.sendall(piece)
        return read(line)


def read(line: socket.socket) -> Answer:
    """One whole reply from a connection. Raises Cut when it ends too early."""
    buffer = bytearray()
    while b"\r\n\r\n" not in buffer:
        _more(line, buffer, b"")
        if buffer.startswith(b"HTTP/1.1 100 ") and b"\r\n\r\n" in buffer:
            del buffer[: buffer.index(b"\r\n\r\n") + 4]
    head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {n.lower(): v.strip() for n, _, v in (field.partition(":") for field in lines)}
    status = int(first.split(" ")[1])
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, _read_chunks(line, bytearray(rest)))
    if "content-length" in headers:
        body = bytearray(rest)
        while len(body) < int(headers["content-length"]):
            _more(line, body, bytes(body))
        return Answer(status, headers, bytes(body))
    body = bytearray(rest)
    with contextlib.suppress(Cut):
        while True:
            _more(line, body, bytes(body))
    return Answer(status, headers, bytes(body))


def _read_chunks(line: socket.socket, buffer: bytearray) -> bytes:
    body = bytearray()
    while True:
        while b"\r\n" not in buffer:
            _more(line, buffer, bytes(body))
        at = buffer.index(b"\r\n")
        size = int(bytes(buffer[:at]), 16)
        while len(buffer) < at + size + 4:
            _more(line, buffer, bytes(body) + bytes(buffer[at + 2 :]))
        body += buffer[at + 2 : at + 2 + size]
        del buffer[: at + size + 4]
        if size == 0:
            return bytes(body)


def _more(line: socket.socket, buffer: bytearray, seen: bytes) -> None:
    try:
        data = line.recv(65536)
    except ConnectionResetError:
        data = b""
    if not data:
        raise Cut(seen)
    buffer += data
