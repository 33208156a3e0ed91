"""Short ways to speak to the Anthropic Messages dialect in tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from extproc.dialects.anthropic_messages import DIALECT
from extproc.model.call import CallId, Capabilities, OnLossy, Target
from extproc.model.chat import Chat
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.embed import Count
from extproc.model.reply import Event, Started
from tests.dialects.reading import drain

NAME = "anthropic_messages"
FIXTURES = Path(__file__).parent / "fixtures" / NAME
SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}
FRAMES = {"content-type": "application/vnd.amazon.eventstream"}


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def streams() -> list[str]:
    return sorted(path.name for path in FIXTURES.glob("*.sse"))


def head(operation: str = "messages", query: str = "", **headers: str) -> RequestHead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead("POST", "/v1/messages", query, named, operation)


def parse(body: Any, query: str = "", **headers: str) -> Chat:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = DIALECT.parse_request(head("messages", query, **headers), raw)
    assert isinstance(request, Chat)
    return request


def parse_count(body: Any) -> Count:
    request = DIALECT.parse_request(head("count"), json.dumps(body).encode())
    assert isinstance(request, Count)
    return request


def target(
    model: str = "claude-sonnet-4-5",
    variant: str = "",
    on_lossy: OnLossy = OnLossy.DROP,
    capabilities: Capabilities | None = None,
    **details: str,
) -> Target:
    return Target(
        "acme",
        model,
        NAME,
        variant=variant,
        details=tuple(details.items()),
        capabilities=capabilities or Capabilities(),
        on_lossy=on_lossy,
    )


def rendered(request: Any, to: Target | None = None) -> Rendered:
    return DIALECT.render_request(request, to or target(request.model))


def sent(request: Any, to: Target | None = None) -> Any:
    return json.loads(rendered(request, to).body)


def rebuilt(chat: Chat, to: Target | None = None) -> Any:
    """The body as written from the canonical request, its raw bytes thrown away."""
    return sent(replace(chat, raw=b""), to)


def decoder(
    headers: dict[str, str] | None = None, status: int = 200, to: Rendered | None = None
) -> ReplyDecoder:
    return DIALECT.decoder(
        ReplyHead(status, SSE if headers is None else headers), to or Rendered("/v1/messages", b"")
    )


def decode(
    body: bytes,
    headers: dict[str, str] | None = None,
    status: int = 200,
    to: Rendered | None = None,
) -> list[Event]:
    return drain(decoder(headers, status, to), [body])[0]


def context_for(events: Sequence[Event]) -> ReplyContext:
    """A context in which the reply keeps the identity that it has."""
    started = next((event for event in events if isinstance(event, Started)), Started("x", "m"))
    return ReplyContext(CallId("gw-" + started.id.removeprefix("msg_")), started.model, 0)


def encode(events: Sequence[Event], stream: bool = True) -> bytes:
    chat = parse({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": stream})
    encoder = DIALECT.encoder(chat, context_for(events))
    return b"".join(encoder.feed(event) for event in events)
