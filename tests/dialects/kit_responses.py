"""Short ways to speak to the OpenAI Responses dialect in tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from openai import omit
from openai._models import construct_type
from openai._streaming import SSEDecoder
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from extproc.dialects.openai_responses import DIALECT
from extproc.model.call import CallId, Target
from extproc.model.chat import (
    Chat,
    Message,
    Role,
    Text,
)
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.reply import Event, Started
from tests.dialects.reading import drain

NAME = "openai_responses"
FIXTURES = Path(__file__).parent / "fixtures" / NAME
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ASK = {"model": "m", "input": "x"}


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def streams() -> list[str]:
    return sorted(path.name for path in FIXTURES.glob("*.sse"))


def head(
    operation: str = "responses", path: str = "/v1/responses", method: str = "POST", **headers: str
) -> RequestHead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path, _, query = path.partition("?")
    return RequestHead(method, path, query, named, operation)


def parse(body: Any, **headers: str) -> Chat:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = DIALECT.parse_request(head(**headers), raw)
    assert isinstance(request, Chat)
    return request


def target(model: str = "gpt-5.6", **more: Any) -> Target:
    return Target("acme", model, NAME, **more)


def rebuilt(chat: Chat, model: str | None = None) -> Any:
    """The body as written from the canonical request, its raw bytes thrown away."""
    rendered = DIALECT.render_request(replace(chat, raw=b""), target(model or chat.model))
    return json.loads(rendered.body)


def decoder(headers: dict[str, str] | None = None, status: int = 200) -> ReplyDecoder:
    return DIALECT.decoder(
        ReplyHead(status, SSE if headers is None else headers), Rendered("", b"")
    )


def decode(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> list[Event]:
    return drain(decoder(headers, status), [body])[0]


def context_for(events: Sequence[Event]) -> ReplyContext:
    """A context in which the reply keeps the model and time that it has."""
    started = next((event for event in events if isinstance(event, Started)), Started("x", "m"))
    return ReplyContext(CallId("gw-" + started.id), started.model, started.created or 0)


def encode(
    events: Sequence[Event], stream: bool = True, request: Any = None, model: str | None = None
) -> bytes:
    chat = replace(parse(ASK if request is None else request), stream=stream)
    context = context_for(events)
    if model is not None:
        context = replace(context, model=model)
    encoder = DIALECT.encoder(chat, context)
    return b"".join(encoder.feed(event) for event in events)


def sdk_events(stream: bytes, strict: bool = True) -> list[Any]:
    """A stream's events as the SDK's parser and types read them; not strict is what it does itself."""
    found = [event.json() for event in SSEDecoder().iter_bytes(iter([stream]))]
    if strict:
        return [_EVENTS.validate_python(value) for value in found]
    return [construct_type(type_=ResponseStreamEvent, value=value) for value in found]


def sdk_final(stream: bytes, strict: bool = True) -> Response:
    """The response that the SDK's own accumulator (`responses.stream()`) ends up with."""
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    last: Any = None
    for event in sdk_events(stream, strict):
        state.handle_event(event)
        last = event
    return state._completed_response or last.response


SCHEMA = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}


def chat(*messages: Message, **more: Any) -> Chat:
    """A request that came in another language."""
    return Chat("anthropic_messages", "client-name", messages, **more)


USER = Message(Role.USER, (Text("Hello"),))
