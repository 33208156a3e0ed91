"""A client that sees bytes: one request on one socket, everything read until the end."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from extproc.mock import MockProvider

PROMPT = "Hello wörld 日本"


@dataclass(frozen=True)
class Reply:
    """What came, chunk by chunk as received, and whether the peer reset."""

    data: bytes
    reads: int
    seconds: float
    was_reset: bool

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    @property
    def headers(self) -> list[tuple[str, str]]:
        head = self.data.partition(b"\r\n\r\n")[0].decode("latin-1")
        lines = (line.partition(": ") for line in head.split("\r\n")[1:])
        return [(name.lower(), value) for name, _, value in lines]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def chunks(self) -> list[bytes]:
        """The whole chunks of a chunked body."""
        chunks: list[bytes] = []
        rest = self.body
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size or b"0", 16)
            if not length or len(rest) < length + 2:
                break
            chunks.append(rest[:length])
            rest = rest[length + 2 :]
        return chunks

    @property
    def complete(self) -> bool:
        """Whether a chunked body came to its end."""
        return self.body.endswith(b"0\r\n\r\n")

    @property
    def stream(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def events(self) -> list[str]:
        """Data lines of an event stream."""
        lines = self.stream.decode().replace("\r\n", "\n").split("\n\n")
        return [line.removeprefix("data: ") for line in lines if line]


def chat(*, stream: bool = False, prompt: str = PROMPT, **fields: object) -> bytes:
    """A chat request's body."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], "stream": stream}
    return json.dumps({**body, **fields}).encode()


def connect(mock: MockProvider) -> socket.socket:
    at = urlsplit(mock.url)
    return socket.create_connection((at.hostname or "", at.port or 0), timeout=10)


def request(
    body: bytes, *, path: str = "/v1/chat/completions", method: str = "POST", headers: str = ""
) -> bytes:
    """The bytes of a request after whose reply the mock closes."""
    head = f"{method} {path} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def read_all(sock: socket.socket) -> Reply:
    """Read until FIN or RST."""
    start, pieces, was_reset = time.monotonic(), [], False
    try:
        while piece := sock.recv(1 << 20):
            pieces.append(piece)
    except ConnectionResetError:
        was_reset = True
    return Reply(b"".join(pieces), len(pieces), time.monotonic() - start, was_reset)


def send(mock: MockProvider, data: bytes) -> Reply:
    """One exchange of raw bytes on a connection of its own."""
    with connect(mock) as sock:
        sock.sendall(data)
        return read_all(sock)


def ask(mock: MockProvider, fault: str = "", *, stream: bool = False, **fields: object) -> Reply:
    """A chat call with a fault given in the prompt."""
    prompt = f"{PROMPT} [[mock {fault}]]" if fault else PROMPT
    return send(mock, request(chat(stream=stream, prompt=prompt, **fields)))
