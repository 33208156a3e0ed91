"""Short ways to speak to the OpenAI Chat dialect in tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from extproc.dialects.openai_chat import DIALECT
from extproc.model.call import CallId, Target
from extproc.model.chat import Chat
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.reply import Event, Started
from tests.dialects.reading import calls, cut, drain, endings, failure, text, thinking, usage

__all__ = ["calls", "cut", "drain", "endings", "failure", "text", "thinking", "usage"]

FIXTURES = Path(__file__).parent / "fixtures" / "openai_chat"
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def streams() -> list[str]:
    return sorted(path.name for path in FIXTURES.glob("*.sse"))


def head(
    operation: str = "chat", path: str = "/v1/chat/completions", **headers: str
) -> RequestHead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead("POST", path, "", named, operation)


def parse(body: Any, **headers: str) -> Chat:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = DIALECT.parse_request(head(**headers), raw)
    assert isinstance(request, Chat)
    return request


def target(model: str = "gpt-4o") -> Target:
    return Target("acme", model, "openai_chat")


def rebuilt(chat: Chat, model: str | None = None) -> Any:
    """The body as written from the canonical request, its raw bytes thrown away."""
    rendered = DIALECT.render_request(replace(chat, raw=b""), target(model or chat.model))
    return json.loads(rendered.body)


def decoder(
    headers: dict[str, str] | None = None, status: int = 200, withhold: bool = False
) -> ReplyDecoder:
    rendered = Rendered("", b"", stream=True, withhold_usage=withhold)
    return DIALECT.decoder(ReplyHead(status, SSE if headers is None else headers), rendered)


def decode(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> list[Event]:
    return drain(decoder(headers, status), [body])[0]


def context_for(events: Sequence[Event]) -> ReplyContext:
    """A context in which the reply keeps the identity that it has."""
    started = next(event for event in events if isinstance(event, Started))
    return ReplyContext(CallId("gw-" + started.id), started.model, started.created or 0)


def encode(events: Sequence[Event], stream: bool = True, include_usage: bool = True) -> bytes:
    chat = replace(
        parse({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        stream=stream,
        include_usage=include_usage,
    )
    encoder = DIALECT.encoder(chat, context_for(events))
    return b"".join(encoder.feed(event) for event in events)
