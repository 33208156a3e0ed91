"""Short ways to speak to the Bedrock Converse dialect in tests, and what AWS's own SDK reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.model
import botocore.parsers
from botocore.eventstream import EventStream

from extproc.codec import aws_eventstream
from extproc.dialects.bedrock_converse import DIALECT
from extproc.model.call import ANY, CallId, Capabilities, OnLossy, Target
from extproc.model.chat import Chat
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.embed import Request
from extproc.model.reply import (
    Event,
    ToolDelta,
)
from tests.dialects.reading import (
    drain,
)

FIXTURES = Path(__file__).parent / "fixtures" / "bedrock_converse"
STREAM = {"content-type": "application/vnd.amazon.eventstream"}
JSON = {"content-type": "application/json"}
CLAUDE = "us.anthropic.claude-sonnet-4-6"
NOVA = "us.amazon.nova-pro-v1:0"
ERROR_HEADER = "x-amzn-errortype"


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def frame(kind: str, payload: Any, message_type: str = "event") -> bytes:
    word = "exception" if message_type == "exception" else "event"
    headers = {
        f":{word}-type": kind,
        ":content-type": "application/json",
        ":message-type": message_type,
    }
    return aws_eventstream.write(headers, json.dumps(payload).encode())


def stream(name: str) -> bytes:
    """A fixture of one event a line, `[type, payload]`, as the bytes of a stream."""
    lines = fixture(name).decode().splitlines()
    found: list[tuple[str, Any]] = [tuple(json.loads(line)) for line in lines if line]
    return b"".join(
        frame(kind, payload, "exception" if kind.endswith("Exception") else "event")
        for kind, payload in found
    )


def streams() -> list[str]:
    return sorted(path.name for path in FIXTURES.glob("*.events"))


def head(path: str = f"/model/{CLAUDE}/converse", **headers: str) -> RequestHead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path, _, query = path.partition("?")
    return RequestHead("POST", path, query, named)


def request(body: Any, path: str = f"/model/{CLAUDE}/converse", **headers: str) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return DIALECT.parse_request(head(path, **headers), raw)


def parse(body: Any, path: str = f"/model/{CLAUDE}/converse", **headers: str) -> Chat:
    found = request(body, path, **headers)
    assert isinstance(found, Chat)
    return found


def target(
    model: str = CLAUDE, can: Capabilities = ANY, on_lossy: OnLossy = OnLossy.DROP
) -> Target:
    return Target("aws", model, "bedrock_converse", capabilities=can, on_lossy=on_lossy)


def render(chat: Request, **about: Any) -> Rendered:
    return DIALECT.render_request(chat, target(**about))


def body(chat: Request, **about: Any) -> Any:
    return json.loads(render(chat, **about).body)


def rebuilt(chat: Chat) -> Any:
    """The body as written from the canonical request, its raw bytes thrown away."""
    return body(replace(chat, raw=b""), model=chat.model)


def decoder(
    headers: dict[str, str] | None = None, status: int = 200, **rendered: Any
) -> ReplyDecoder:
    about = Rendered("", b"", stream=True, operation="converse")
    about = replace(about, **rendered)
    return DIALECT.decoder(ReplyHead(status, STREAM if headers is None else headers), about)


def decode(
    data: bytes, headers: dict[str, str] | None = None, status: int = 200, **rendered: Any
) -> list[Event]:
    return drain(decoder(headers, status, **rendered), [data])[0]


CONTEXT = ReplyContext(CallId("gw-1"), "claude", 7)


def encode(events: Sequence[Event], stream: bool = True) -> bytes:
    operation = "converse-stream" if stream else "converse"
    chat = parse({"messages": []}, f"/model/claude/{operation}")
    encoder = DIALECT.encoder(chat, CONTEXT)
    return b"".join(encoder.feed(event) for event in events)


# --- AWS's own SDK --------------------------------------------------------------------------


@cache
def service() -> botocore.model.ServiceModel:
    loader = botocore.loaders.Loader()
    return botocore.model.ServiceModel(loader.load_service_model("bedrock-runtime", "service-2"))


def sdk_whole(
    data: bytes,
    status: int = 200,
    headers: dict[str, str] | None = None,
    operation: str = "Converse",
) -> Any:
    """What botocore makes of a whole reply."""
    parser = botocore.parsers.create_parser("rest-json")
    response = {"status_code": status, "headers": headers or {}, "body": data, "context": {}}
    return parser.parse(response, service().operation_model(operation).output_shape)


class _Raw:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        for at in range(0, len(self._data), 1000):
            yield self._data[at : at + 1000]

    def close(self) -> None:
        pass


def sdk_stream(data: bytes) -> list[Any]:
    """What botocore makes of a stream. Raises its `EventStreamError` for an exception frame."""
    output: Any = service().operation_model("ConverseStream").output_shape
    shape = output.members["stream"]
    parser = botocore.parsers.EventStreamJSONParser()
    return list(EventStream(_Raw(data), shape, parser, "ConverseStream"))


STREAMS = streams()
GOOD = [name for name in STREAMS if not name.startswith("error")]


def read(name: str, **rendered: Any) -> list[Event]:
    if name.endswith(".json"):
        return decode(fixture(name), JSON, **rendered)
    return decode(stream(name), **rendered)


def compact(event: Event) -> Event:
    if not isinstance(event, ToolDelta):
        return event
    return replace(event, arguments=json.dumps(json.loads(event.arguments), separators=(",", ":")))
