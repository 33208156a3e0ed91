"""Short ways to speak to the Ollama dialect in tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from extproc.dialects.ollama_chat import DIALECT
from extproc.model.call import ANY, CallId, Capabilities, OnLossy, Target
from extproc.model.chat import (
    Chat,
    Message,
    Part,
    Role,
    Text,
)
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.embed import Embed
from extproc.model.reply import Event

from .reading import drain

FIXTURES = Path(__file__).parent / "fixtures" / "ollama_chat"
NDJSON = {"content-type": "application/x-ndjson"}
JSON = {"content-type": "application/json; charset=utf-8"}
PATHS = {"chat": "/api/chat", "generate": "/api/generate"}


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def fixtures(pattern: str) -> list[str]:
    return sorted(path.name for path in FIXTURES.glob(pattern))


def ask(body: Any, operation: str = "chat", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    head = RequestHead("POST", "/api/" + operation, "", named, operation)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return DIALECT.parse_request(head, raw)


def parse(body: Any, operation: str = "chat", **headers: str) -> Chat:
    request = ask(body, operation, **headers)
    assert isinstance(request, Chat)
    return request


def embed(body: Any, operation: str = "embed") -> Embed:
    request = ask(body, operation)
    assert isinstance(request, Embed)
    return request


def target(
    model: str = "llama3.2",
    capabilities: Capabilities = ANY,
    on_lossy: OnLossy = OnLossy.DROP,
) -> Target:
    return Target("acme", model, "ollama_chat", capabilities=capabilities, on_lossy=on_lossy)


def rendered(chat: Chat, to: Target | None = None) -> Rendered:
    """Written from the canonical request, its raw bytes thrown away."""
    return DIALECT.render_request(replace(chat, raw=b""), to or target(chat.model))


def rebuilt(chat: Chat, to: Target | None = None) -> Any:
    return json.loads(rendered(chat, to).body)


def decoder(
    headers: dict[str, str] | None = None,
    status: int = 200,
    stream: bool = True,
    path: str = "/api/chat",
) -> ReplyDecoder:
    head = ReplyHead(status, NDJSON if headers is None else headers)
    return DIALECT.decoder(head, Rendered(path, b"", stream=stream))


def decode(
    body: bytes,
    headers: dict[str, str] | None = None,
    status: int = 200,
    stream: bool = True,
    path: str = "/api/chat",
) -> list[Event]:
    return drain(decoder(headers, status, stream, path), [body])[0]


def encode(
    events: Sequence[Event],
    stream: bool = True,
    operation: str = "chat",
    context: ReplyContext | None = None,
) -> bytes:
    asked: dict[str, Any] = {"model": "m", "stream": stream}
    asked |= {"prompt": "x"} if operation == "generate" else {"messages": [{"role": "user"}]}
    encoder = DIALECT.encoder(
        parse(asked, operation), context or ReplyContext(CallId("gw-1"), "m", 0)
    )
    return b"".join(encoder.feed(event) for event in events)


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def elsewhere(*messages: Message, parts: tuple[Part, ...] = (Text("Hi"),), **fields: Any) -> Chat:
    """A request that came in another language."""
    return Chat("elsewhere", "m", messages or (Message(Role.USER, parts),), **fields)


HI = {"role": "user", "content": "Hi"}
