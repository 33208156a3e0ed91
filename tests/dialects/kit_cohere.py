"""Short ways to speak to the Cohere dialect in tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from cohere import ClientV2

from extproc.dialects.cohere_chat import DIALECT
from extproc.model.call import ANY, CallId, Capabilities, OnLossy, Target
from extproc.model.chat import Chat
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.reply import (
    Event,
)

from .reading import (
    drain,
)

FIXTURES = Path(__file__).parent / "fixtures" / "cohere_chat"
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
OPERATIONS = {
    "/v2/chat": "chat",
    "/v2/embed": "embed",
    "/v2/rerank": "rerank",
    "/v1/rerank": "rerank_v1",
    "/v1/chat": "opaque",
}
CONTEXT = ReplyContext(CallId("gw-1"), "mine", 1772359200)


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def fixtures(pattern: str) -> list[str]:
    return sorted(path.name for path in FIXTURES.glob(pattern))


def ask(body: Any, path: str = "/v2/chat", **headers: str) -> Any:
    named = {"content-type": "application/json"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = RequestHead("POST", path, "", named, OPERATIONS[path])
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return DIALECT.parse_request(head, raw)


def parse(body: Any, **headers: str) -> Chat:
    request = ask(body, **headers)
    assert isinstance(request, Chat)
    return request


def target(
    model: str = "command-a",
    capabilities: Capabilities = ANY,
    on_lossy: OnLossy = OnLossy.DROP,
) -> Target:
    return Target("acme", model, "cohere_chat", capabilities=capabilities, on_lossy=on_lossy)


def rendered(request: Any, to: Target | None = None) -> Rendered:
    """Written from the canonical request, its raw bytes thrown away."""
    return DIALECT.render_request(replace(request, raw=b""), to or target(request.model))


def rebuilt(request: Any, to: Target | None = None) -> Any:
    return json.loads(rendered(request, to).body)


def decoder(
    headers: Mapping[str, str] = SSE,
    status: int = 200,
    operation: str = "chat",
    renamed: Mapping[str, str] | None = None,
) -> ReplyDecoder:
    asked = Rendered("/", b"", operation=operation, renamed=renamed or {})
    return DIALECT.decoder(ReplyHead(status, headers), asked)


def decode(
    body: bytes,
    headers: Mapping[str, str] = SSE,
    status: int = 200,
    operation: str = "chat",
) -> list[Event]:
    return drain(decoder(headers, status, operation), [body])[0]


def encode(events: Sequence[Event], stream: bool = True, context: ReplyContext = CONTEXT) -> bytes:
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    encoder = DIALECT.encoder(parse(asked), context)
    return b"".join(encoder.feed(event) for event in events)


def data(body: bytes) -> list[Any]:
    """The objects of a stream."""
    lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


class Sdk:
    """What Cohere's own SDK reads from bytes, by its own transport, parser and types."""

    def __init__(self, body: bytes, headers: Mapping[str, str] = SSE, status: int = 200) -> None:
        def reply(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return httpx.Response(status, headers=dict(headers), content=body)

        self.requests: list[httpx.Request] = []
        transport = httpx.MockTransport(reply)
        self.client = ClientV2(
            "key", base_url="http://cohere.test", httpx_client=httpx.Client(transport=transport)
        )

    def chat(self, stream: bool) -> dict[str, Any]:
        """Text, reasoning, calls, finish reason, usage and citations."""
        hi: Any = [{"role": "user", "content": "Hi"}]
        said: dict[str, Any] = {"text": "", "thinking": "", "calls": [], "citations": []}
        if not stream:
            reply: Any = self.client.chat(model="m", messages=hi)
            message = reply.message
            said["thinking"] = message.tool_plan or ""
            for item in message.content or []:
                said[item.type] += item.text if item.type == "text" else item.thinking
            for call in message.tool_calls or []:
                said["calls"].append((call.id, call.function.name, call.function.arguments))
            said["citations"] = [c.text for c in message.citations or []]
            return {**said, "finish": reply.finish_reason, "usage": reply.usage, "id": reply.id}
        for event in self.client.chat_stream(model="m", messages=hi):
            self._read(event, said)
        return said

    def _read(self, event: Any, said: dict[str, Any]) -> None:
        match event.type:
            case "message-start":
                said["id"] = event.id
            case "content-start" | "content-delta":
                said["text"] += event.delta.message.content.text or ""
                said["thinking"] += event.delta.message.content.thinking or ""
            case "tool-plan-delta":
                said["thinking"] += event.delta.message.tool_plan
            case "tool-call-start":
                call = event.delta.message.tool_calls
                said["calls"].append((call.id, call.function.name, call.function.arguments))
            case "tool-call-delta":
                call_id, name, before = said["calls"][event.index]
                more = event.delta.message.tool_calls.function.arguments
                said["calls"][event.index] = (call_id, name, before + more)
            case "citation-start":
                said["citations"].append(event.delta.message.citations.text)
            case "message-end":
                said["finish"], said["usage"] = event.delta.finish_reason, event.delta.usage
                said["error"] = event.delta.error
            case _:
                pass


WHOLE = ["text.json", "tools.json", "thinking_citations.json"]
