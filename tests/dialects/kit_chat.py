"""Short ways to speak to the OpenAI Chat dialect in tests."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from extproc.dialects.openai_chat import DIALECT
from extproc.model.call import CallId, Target
from extproc.model.chat import Chat
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.errors import GatewayError
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    PartKind,
    PartStarted,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)

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


def drain(decoder: ReplyDecoder, pieces: Iterable[bytes]) -> tuple[list[Event], bytes]:
    """All events and all bytes that may pass, taken after every piece."""
    events: list[Event] = []
    raw = b""
    for piece in pieces:
        events.extend(decoder.feed(piece))
        raw += decoder.take()
    events.extend(decoder.close())
    return events, raw + decoder.take()


def decode(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> list[Event]:
    return drain(decoder(headers, status), [body])[0]


def cut(body: bytes, points: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(points), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges)]


def failure(events: Sequence[Event]) -> GatewayError:
    last = events[-1]
    assert isinstance(last, Failed), last
    assert not any(isinstance(event, Failed) for event in events[:-1])
    return last.error


def text(events: Sequence[Event], choice: int = 0) -> str:
    kinds = {(e.choice, e.part): e.kind for e in events if isinstance(e, PartStarted)}
    deltas = (e for e in events if isinstance(e, TextDelta) and e.choice == choice)
    return "".join(e.text for e in deltas if kinds[choice, e.part] is PartKind.TEXT)


def thinking(events: Sequence[Event], choice: int = 0) -> str:
    return "".join(
        event.text
        for event in events
        if isinstance(event, ThinkingDelta) and event.choice == choice
    )


def calls(events: Sequence[Event], choice: int = 0) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each tool call."""
    found: dict[int, tuple[str, str, str]] = {}
    for event in events:
        match event:
            case PartStarted(PartKind.TOOL, part) if event.choice == choice:
                found[part] = (event.id, event.name, "")
            case ToolDelta(arguments, part) if event.choice == choice:
                call_id, name, before = found[part]
                found[part] = (call_id, name, before + arguments)
            case _:
                pass
    return list(found.values())


def endings(events: Sequence[Event]) -> dict[int, ChoiceEnded]:
    return {event.choice: event for event in events if isinstance(event, ChoiceEnded)}


def usage(events: Sequence[Event]) -> Usage | None:
    found = [event.usage for event in events if isinstance(event, Used)]
    return found[-1] if found else None


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
