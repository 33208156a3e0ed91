"""Short ways to speak to the Gemini dialect in tests, and to ask Google's SDK what it reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from google import genai
from google.genai import types

from extproc.dialects.gemini_generate import DIALECT
from extproc.mock.speakers.gemini_rules import wrong
from extproc.model.call import ANY, CallId, Capabilities, OnLossy, Target
from extproc.model.chat import (
    Chat,
    Message,
    Part,
    Role,
    Text,
    ToolResult,
)
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.embed import Request
from extproc.model.reply import Event

from .reading import drain

FIXTURES = Path(__file__).parent / "fixtures" / "gemini_generate"
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json; charset=UTF-8"}
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
ARRAY = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
GEN_3 = "gemini-3-flash-preview"
HI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def fixtures(pattern: str) -> list[str]:
    return sorted(path.name for path in FIXTURES.glob(pattern))


def ask(body: Any, path: str = GENERATE, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    path, _, query = path.partition("?")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return DIALECT.parse_request(RequestHead("POST", path, query, named, "method"), raw)


def parse(body: Any, path: str = GENERATE, **headers: str) -> Chat:
    request = ask(body, path, **headers)
    assert isinstance(request, Chat)
    return request


def target(
    model: str = "gemini-2.5-flash",
    capabilities: Capabilities = ANY,
    on_lossy: OnLossy = OnLossy.DROP,
) -> Target:
    return Target("acme", model, "gemini_generate", capabilities=capabilities, on_lossy=on_lossy)


def vertex(model: str = "gemini-2.5-flash") -> Target:
    details = (("project", "acme-1"), ("region", "europe-west4"))
    return Target("acme", model, "gemini_generate", variant="vertex", details=details)


def rendered(chat: Chat, to: Target | None = None) -> Rendered:
    """Written from the canonical request, its raw bytes thrown away."""
    return DIALECT.render_request(replace(chat, raw=b""), to or target(chat.model))


def rebuilt(chat: Chat, to: Target | None = None) -> Any:
    return json.loads(rendered(chat, to).body)


def plain(value: Any) -> Any:
    """Without the spelling of names: `function_call` and `functionCall` are one."""
    if isinstance(value, dict):
        return {name.replace("_", "").lower(): plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def decoder(
    headers: dict[str, str] | None = None,
    status: int = 200,
    path: str = STREAM,
    renamed: dict[str, str] | None = None,
) -> ReplyDecoder:
    head = ReplyHead(status, SSE if headers is None else headers)
    stream = "streamGenerateContent" in path
    return DIALECT.decoder(head, Rendered(path, b"", stream=stream, renamed=renamed or {}))


def decode(
    body: bytes, headers: dict[str, str] | None = None, status: int = 200, path: str = STREAM
) -> list[Event]:
    return drain(decoder(headers, status, path), [body])[0]


def encode(
    events: Sequence[Event], path: str = STREAM, context: ReplyContext | None = None
) -> bytes:
    chat = parse({"contents": [{"role": "user", "parts": [{"text": "x"}]}]}, path)
    encoder = DIALECT.encoder(chat, context or ReplyContext(CallId("gw-1"), "m", 0))
    return b"".join(encoder.feed(event) for event in events)


# --- the SDK --------------------------------------------------------------------------------


class _Provider(httpx.BaseTransport):
    """Gives one reply to whatever it is asked. Nothing leaves the process."""

    def __init__(self) -> None:
        self.reply = httpx.Response(500)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        del request
        return self.reply


@cache
def _client() -> tuple[_Provider, genai.Client]:
    """Made once: it takes long."""
    provider = _Provider()
    options = types.HttpOptions(httpx_client=httpx.Client(transport=provider))
    return provider, genai.Client(api_key="k", http_options=options)


def sdk(body: bytes, status: int = 200, content_type: str = "application/json") -> genai.Client:
    """Google's client, which gets this reply next."""
    provider, client = _client()
    provider.reply = httpx.Response(status, headers={"content-type": content_type}, content=body)
    return client


def sdk_chunks(body: bytes) -> list[types.GenerateContentResponse]:
    """The chunks of an event stream, as the SDK gives them."""
    client = sdk(body, content_type="text/event-stream")
    return list(client.models.generate_content_stream(model="m", contents="x"))


def sdk_whole(body: bytes) -> types.GenerateContentResponse:
    return sdk(body).models.generate_content(model="m", contents="x")


def sdk_any(body: bytes) -> list[types.GenerateContentResponse]:
    """Whatever form the reply has; of an array, each element as the SDK reads it alone."""
    start = body.lstrip()[:1]
    if start == b"[":
        return [sdk_whole(json.dumps(element).encode()) for element in json.loads(body)]
    return [sdk_whole(body)] if start == b"{" else sdk_chunks(body)


def sdk_view(chunks: list[types.GenerateContentResponse]) -> dict[int, dict[str, Any]]:
    """Text, thoughts, calls and finish reason of each candidate, joined over the chunks."""
    found: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for position, candidate in enumerate(chunk.candidates or []):
            index = position if candidate.index is None else candidate.index
            empty = {"text": "", "thoughts": "", "calls": [], "finish": None}
            view = found.setdefault(index, empty)
            for part in (candidate.content and candidate.content.parts) or []:
                if part.text is not None:
                    view["thoughts" if part.thought else "text"] += part.text
                if part.function_call is not None:
                    view["calls"].append((part.function_call.name, part.function_call.args or {}))
            if candidate.finish_reason is not None:
                view["finish"] = candidate.finish_reason.value
    return found


def sdk_usage(chunks: list[types.GenerateContentResponse]) -> tuple[int, int, int | None] | None:
    """Prompt, output and total by the SDK's types; None where nothing was counted."""
    found = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata is not None]
    if not found or found[-1].prompt_token_count is None:
        return None
    last = found[-1]
    prompt = (last.prompt_token_count or 0) + (last.tool_use_prompt_token_count or 0)
    output = (last.candidates_token_count or 0) + (last.thoughts_token_count or 0)
    return prompt, output, last.total_token_count


def elsewhere(*messages: Message, **fields: Any) -> Chat:
    """A request that came in another language."""
    return Chat(dialect="openai_chat", model="m", messages=messages, **fields)


def user(*parts: Part | str) -> Message:
    return Message(Role.USER, tuple(Text(p) if isinstance(p, str) else p for p in parts))


def model(*parts: Part | str) -> Message:
    return Message(Role.ASSISTANT, tuple(Text(p) if isinstance(p, str) else p for p in parts))


def result(call_id: str, *parts: Part, is_error: bool = False) -> Message:
    return Message(Role.TOOL, (ToolResult(call_id, parts, is_error=is_error),))


def sent(chat: Chat, to: Target | None = None) -> tuple[Any, tuple[str, ...]]:
    """Body and drops; what the provider's own rules would not take is an error."""
    to = to or target()
    rendered = DIALECT.render_request(chat, to)
    body = json.loads(rendered.body)
    assert wrong(to.model, body) is None
    return body, rendered.dropped
