"""Short ways to speak to the legacy completions dialect in tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from extproc.dialects.openai_completions import DIALECT
from extproc.model.call import ANY, CallId, Capabilities, OnLossy, Target
from extproc.model.chat import Chat
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.reply import Event, Started

from .reading import drain

FIXTURES = Path(__file__).parent / "fixtures" / "openai_completions"
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def fixtures(pattern: str) -> list[str]:
    return sorted(path.name for path in FIXTURES.glob(pattern))


def parse(body: Any, **headers: str) -> Chat:
    head = RequestHead("POST", "/v1/completions", "", headers, "completion")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    chat = DIALECT.parse_request(head, raw)
    assert isinstance(chat, Chat)
    return chat


def target(
    model: str = "davinci-002",
    capabilities: Capabilities = ANY,
    on_lossy: OnLossy = OnLossy.DROP,
) -> Target:
    return Target("acme", model, "openai_completions", capabilities=capabilities, on_lossy=on_lossy)


def rendered(chat: Chat, to: Target | None = None) -> Rendered:
    """Written from the canonical request, its raw bytes thrown away."""
    return DIALECT.render_request(replace(chat, raw=b""), to or target(chat.model))


def rebuilt(chat: Chat, to: Target | None = None) -> Any:
    return json.loads(rendered(chat, to).body)


def decoder(
    headers: dict[str, str] | None = None, status: int = 200, withhold: bool = False
) -> ReplyDecoder:
    head = ReplyHead(status, SSE if headers is None else headers)
    return DIALECT.decoder(head, Rendered("", b"", stream=True, withhold_usage=withhold))


def decode(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> list[Event]:
    return drain(decoder(headers, status), [body])[0]


def encode(events: Sequence[Event], stream: bool = True, include_usage: bool = True) -> bytes:
    """In a context in which the reply keeps the identity that it has."""
    started = next((e for e in events if isinstance(e, Started)), Started("A1", "m"))
    context = ReplyContext(
        CallId("gw-" + started.id.removeprefix("cmpl-")), started.model, started.created or 0
    )
    chat = replace(parse({"model": "m", "prompt": "x"}), stream=stream, include_usage=include_usage)
    encoder = DIALECT.encoder(chat, context)
    return b"".join(encoder.feed(event) for event in events)
