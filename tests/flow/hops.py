"""An exchange with three targets of three languages, played by hand: outside of the hop and in it.

`good` and `pieces` are replies of each language as its provider would send them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extproc.config.schema import Retry, Settings, Window
from extproc.flow.attempt import Again, Attempt, End, Verdict
from extproc.flow.messages import Continue, Outgoing, ResponseBody, ResponseHead
from extproc.model.call import Failure
from tests.kit import Dialogue, provider, route, settings

VIA = "via_upstream"
DIALECTS = {"a": "openai_chat", "b": "anthropic_messages", "c": "gemini_generate"}
BODIES = (Failure.CONTENT_FILTER, Failure.CONTEXT_LENGTH, Failure.BAD_OUTPUT)
DEFAULT = Retry().on


def targets(
    *names: str,
    on: tuple[Failure, ...] = DEFAULT,
    window: Window | None = None,
    attempts: int = 8,
    same: int = 0,
    base: float = 0.25,
    deadline: float | None = None,
    **more: Any,
) -> Settings:
    """Model `m`, which these providers serve, in this order."""
    providers = {
        name: provider(
            name,
            dialect=DIALECTS[name[0]],
            endpoint=f"http://127.0.0.1:9001/{name}",
            models=("m",),
            timeout=30.0,
        )
        for name in dict.fromkeys(names)
    }
    retry = Retry(attempts=attempts, on=on, same=same, base=base)
    model = route(*((n, "m") for n in names), window=window, retry=retry, deadline=deadline)
    return settings(providers=providers, models={"chat": model}, **more)


def ask(*, stream: bool = False, **more: object) -> bytes:
    asked = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], **more}
    return json.dumps(asked | ({"stream": True} if stream else {})).encode()


@dataclass
class Hop(Dialogue):
    """As a `Dialogue`; `begin` is a stream of the hop."""

    async def out(
        self, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Outgoing:
        await self.head(headers=headers)
        return await self.body(ask() if body is None else body)

    async def begin(self) -> tuple[Attempt, Continue]:
        attempt, answer = await self.tried_to_begin()
        assert isinstance(answer, Continue), answer
        return attempt, answer

    async def tried_to_begin(self) -> tuple[Attempt, Continue | End]:
        attempt = self.exchange.attempt()
        at_hop = {":method": "POST", ":path": "/", "x-sluice-call": "x", "x-sluice-dest": "y"}
        return attempt, await attempt.begin({**at_hop, "x-sluice-hold": "1", "content-length": "0"})

    async def passes(self, body: bytes) -> bytes:
        """A good whole reply, seen from outside."""
        await self.reply_head()
        answer = await self.reply_body(body)
        assert isinstance(answer, Continue)
        return body if answer.body is None else answer.body


def head(
    status: int = 200,
    kind: str = "application/json",
    *,
    details: str = VIA,
    end: bool = False,
    **headers: str,
) -> ResponseHead:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ResponseHead({":status": str(status), "content-type": kind, **named}, end, details)


def stream_head() -> ResponseHead:
    return head(200, "text/event-stream")


def piece(data: bytes, *, end: bool = False) -> ResponseBody:
    return ResponseBody(data, end)


def again(verdict: Verdict) -> Failure:
    assert isinstance(verdict, Again), verdict
    return verdict.failure


def good(name: str, text: str = "hello") -> bytes:
    """A whole reply."""
    match DIALECTS[name[0]]:
        case "openai_chat":
            message = {"role": "assistant", "content": text}
            body: dict[str, object] = {
                "id": "c1",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
            }
        case "anthropic_messages":
            body = {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 9, "output_tokens": 2},
            }
        case _:
            content = {"role": "model", "parts": [{"text": text}]}
            body = {
                "candidates": [{"index": 0, "content": content, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2},
                "modelVersion": "m",
                "responseId": "r1",
            }
    return json.dumps(body).encode()


def event(data: object, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(data)}\n\n".encode()


def chunk(delta: Mapping[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    same = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return event({**same, "choices": [choice]})


ROLE = chunk({"role": "assistant", "content": ""})
WORD = chunk({"content": "hel"})
LAST = chunk({}, "stop") + b"data: [DONE]\n\n"
PING = b": ping\n\n"
BROKEN = event({"error": {"message": "overloaded", "type": "server_error", "code": None}})
"""OpenAI Chat's"""
BEGUN = event(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 1},
        },
    },
    "message_start",
)
A_PING = event({"type": "ping"}, "ping")
A_BLOCK = event(
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    "content_block_start",
)
A_THINKS = event(
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": "", "signature": ""},
    },
    "content_block_start",
) + event(
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "Hm"},
    },
    "content_block_delta",
)
A_ERROR = event(
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error"
)
"""Anthropic's"""


def error_of(name: str, status: int, message: str = "no") -> bytes:
    """An error's body."""
    match DIALECTS[name[0]]:
        case "openai_chat":
            code = {
                "filter": "content_filter",
                "context": "context_length_exceeded",
            }.get(message)
            error = {"message": message, "type": "invalid_request_error", "code": code}
            return json.dumps({"error": error}).encode()
        case "anthropic_messages":
            said = "prompt is too long: 9 tokens > 5 maximum" if message == "context" else message
            error = {"type": "invalid_request_error", "message": said}
            return json.dumps({"type": "error", "error": error}).encode()
        case _:
            told: dict[str, object] = {"code": status, "message": message}
            if message == "key":
                kind = "type.googleapis.com/google.rpc.ErrorInfo"
                told["details"] = [{"@type": kind, "reason": "API_KEY_INVALID"}]
            return json.dumps({"error": {**told, "status": "INVALID_ARGUMENT"}}).encode()
